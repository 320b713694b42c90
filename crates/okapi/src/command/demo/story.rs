//! What happens in the demo, step by step.

use super::machine::{MARK, Machine};
use super::size;
use super::stage::{Actor, Stage, State};
use crate::failure::Failure;
use crate::interrupt::Flag;
use crate::size::{counted, rate};
use crate::standing::days;
use crate::view::hex;
use okapi_client::group::{GroupState, GroupStatus, MemberPresence};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Who takes part.
const NAMES: [&str; 5] = ["ada", "bob", "cleo", "dan", "eve"];
/// How many machines burn down: of those that hold most.
const BURNT: usize = 2;
/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(180);
/// How often is looked.
const LOOK_EVERY: Duration = Duration::from_millis(40);

/// The story.
pub(super) struct Story<'s> {
    stage: Stage<'s>,
    machines: Vec<Machine>,
    states: [State; 5],
    place: PathBuf,
    file: PathBuf,
    interrupted: Flag,
    phrase: String,
    /// Whose machines burn down.
    burnt: Vec<usize>,
}

impl<'s> Story<'s> {
    pub(super) fn new(stage: Stage<'s>, place: PathBuf, file: PathBuf, interrupted: Flag) -> Self {
        let bytes = std::fs::metadata(&file).map_or(0, |facts| facts.len());
        let machines = NAMES.iter().map(|name| Machine::new(&place, name, bytes)).collect();
        let states = [State::Absent; 5];
        Self { stage, machines, states, place, file, interrupted, phrase: String::new(), burnt: Vec::new() }
    }

    pub(super) fn tell(mut self) -> Result<(), Failure> {
        let begun = Instant::now();
        let mark = self.place.join(MARK);
        std::fs::write(&mark, "a demo of okapi\n").map_err(|error| Failure::io(mark.display(), &error))?;
        let heading = self.stage.strong("Five machines that know each other, all of them on this one");
        self.stage.say(&format!("\n{heading}\n"))?;
        self.meet()?;
        let hash = self.store()?;
        self.spatter()?;
        self.burn()?;
        self.repair()?;
        self.lose_the_first()?;
        self.come_back()?;
        self.compare(&hash)?;
        self.leave(begun.elapsed())
    }

    fn meet(&mut self) -> Result<(), Failure> {
        let text = "ada, bob, cleo, dan and eve start, and join by tickets";
        self.stage.begin(text)?;
        for at in 0..self.machines.len() {
            let phrase = self.machines[at].init()?;
            if at == 0 {
                self.phrase = phrase;
            }
            self.machines[at].start()?;
        }
        for at in 0..self.machines.len() {
            let flag = self.interrupted.clone();
            self.machines[at].wait(&|| flag.is_set())?;
            self.states[at] = State::Up;
            if at > 0 {
                let ticket = self.ticket(0)?;
                self.machines[at].client()?.join(&ticket)?;
                self.until(text, |all| all[at].as_ref().is_some_and(|status| status.state == GroupState::Member))?;
            }
        }
        let here = |status: &GroupStatus| {
            status.members.iter().filter(|member| member.presence == MemberPresence::Here).count()
        };
        let all = NAMES.len();
        self.until(text, |seen| seen.iter().flatten().filter(|status| here(status) == all - 1).count() == all)?;
        self.stage.done(text, "each has keys and a disk of its own, and gives half of that disk to the others")?;
        Ok(())
    }

    fn ticket(&mut self, at: usize) -> Result<String, Failure> {
        Ok(self.machines[at].client()?.invite(Duration::from_secs(600))?.ticket)
    }

    fn store(&mut self) -> Result<[u8; 32], Failure> {
        let bytes = std::fs::metadata(&self.file).map_err(|error| Failure::io(self.file.display(), &error))?.len();
        let text = format!("ada stores {}, {}", name_of(&self.file), size(bytes));
        self.stage.begin(&text)?;
        let file = self.file.to_str().ok_or_else(|| Failure::usage("the file's name is no UTF-8"))?.to_owned();
        let begun = Instant::now();
        self.machines[0].run(&["put", &file, "file"])?;
        let took = begun.elapsed();
        let outcome = format!("encrypted, and on ada's disk for good, at {}", rate(bytes, took));
        self.stage.done(&text, &outcome)?;
        let grid = self.machines[0].client()?.grid("main", None)?;
        let info = grid.find("file")?.ok_or_else(|| Failure::new("what was stored is not there"))?;
        Ok(info.blake3)
    }

    fn spatter(&mut self) -> Result<(), Failure> {
        let text = "it spatters: copies of each piece go to three others";
        self.stage.begin(text)?;
        let client = self.machines[0].client()?;
        let waiting = std::thread::spawn(move || client.wait_until_safe());
        self.until(text, |_| waiting.is_finished())?;
        waiting.join().map_err(|_| Failure::new("waiting until all is safe failed"))??;
        let status = self.machines[0].status().ok_or_else(|| Failure::new("ada does not answer"))?;
        let segments = counted(status.own.segments, "segment");
        let outcome = format!("{segments}, expected to last {}", days(status.own.least_days));
        self.stage.done(text, &outcome)?;
        Ok(())
    }

    fn burn(&mut self) -> Result<(), Failure> {
        let mut holders = self.machines[0].status().map(|status| status.members).unwrap_or_default();
        holders.sort_by_key(|member| std::cmp::Reverse(member.holds_for_us));
        let place_of = |name: &str| NAMES.iter().position(|known| *known == name);
        self.burnt =
            holders.iter().filter_map(|member| place_of(&member.name)).filter(|at| *at > 0).take(BURNT).collect();
        self.burnt.sort_unstable();
        let text = format!("the machines of {} burn down", self.names(|at, burnt| burnt.contains(&at)));
        self.stage.begin(&text)?;
        for at in self.burnt.clone() {
            self.machines[at].burn()?;
            self.states[at] = State::Burnt;
        }
        self.stage.done(&text, "killed without warning, their disks wiped: two of five are gone")?;
        Ok(())
    }

    /// The names of some of the machines but the first.
    fn names(&self, which: impl Fn(usize, &[usize]) -> bool) -> String {
        let some: Vec<&str> = (1..NAMES.len()).filter(|at| which(*at, &self.burnt)).map(|at| NAMES[at]).collect();
        some.join(" and ")
    }

    fn repair(&mut self) -> Result<(), Failure> {
        let text = "the others are told, and make anew what is missing";
        self.stage.begin(text)?;
        let before = self.machines[0].status().map_or(0, |status| status.work.sent_bytes);
        self.tell_of_the_lost()?;
        let mut calm = 0;
        self.until(text, |all| {
            let is_calm = all[0].as_ref().is_some_and(|status| status.work.placing == 0 && status.own.at_risk == 0);
            calm = if is_calm { calm + 1 } else { 0 };
            calm > 10
        })?;
        let status = self.machines[0].status().ok_or_else(|| Failure::new("ada does not answer"))?;
        let sent = size(status.work.sent_bytes.saturating_sub(before));
        let outcome = format!("{sent} sent for it; expected to last {}", days(status.own.least_days));
        self.stage.done(text, &outcome)?;
        Ok(())
    }

    /// A person knows better than to wait for days whether they come back.
    fn tell_of_the_lost(&mut self) -> Result<(), Failure> {
        for at in (0..self.machines.len()).filter(|at| !self.burnt.contains(at)).collect::<Vec<_>>() {
            for lost in self.burnt.clone() {
                let begun = Instant::now();
                // As long as the link is not known to be cut the node counts as being there.
                while let Err(failure) = self.machines[at].run(&["lost", NAMES[lost], "--yes"]) {
                    if begun.elapsed() > PATIENCE || self.interrupted.is_set() {
                        return Err(failure);
                    }
                    std::thread::sleep(LOOK_EVERY);
                }
            }
        }
        Ok(())
    }

    fn lose_the_first(&mut self) -> Result<(), Failure> {
        let text = "and now ada's, with the only whole copy";
        self.stage.begin(text)?;
        self.machines[0].burn()?;
        self.states[0] = State::Burnt;
        self.stage.done(text, "what is left of it: 24 words on paper")?;
        Ok(())
    }

    fn come_back(&mut self) -> Result<(), Failure> {
        let text = "ada has a new, empty disk, and types the 24 words";
        self.stage.begin(text)?;
        let living = (1..NAMES.len()).find(|at| !self.burnt.contains(at)).expect("more than two machines");
        let ticket = self.ticket(living)?;
        self.machines[0].new_disk()?;
        let phrase = self.phrase.clone();
        self.machines[0].start_restore(&phrase, &ticket)?;
        self.states[0] = State::Returning;
        let flag = self.interrupted.clone();
        self.until_there(text, &flag)?;
        self.states[0] = State::Up;
        let status = self.machines[0].status().ok_or_else(|| Failure::new("ada does not answer"))?;
        let what = counted(status.restore.restored, "segment");
        let others = self.names(|at, burnt| !burnt.contains(&at));
        self.stage.done(text, &format!("{what}, {}, back from {others}", size(status.restore.restored_bytes)))?;
        self.tell_of_the_lost()
    }

    fn until_there(&mut self, text: &str, flag: &Flag) -> Result<(), Failure> {
        let begun = Instant::now();
        while !self.machines[0].is_back() {
            let actors = self.actors();
            self.stage.show(&actors, text)?;
            if begun.elapsed() > PATIENCE || flag.is_set() {
                return Err(Failure::new("what was lost did not come back in time"));
            }
            std::thread::sleep(LOOK_EVERY);
        }
        Ok(())
    }

    fn compare(&mut self, hash: &[u8; 32]) -> Result<(), Failure> {
        let text = "is it the same?";
        self.stage.begin(text)?;
        let back = self.place.join("back");
        let to = back.to_str().ok_or_else(|| Failure::usage("the directory's name is no UTF-8"))?;
        self.machines[0].run(&["get", "file", "-o", to])?;
        let mut hasher = blake3::Hasher::new();
        let mut from = std::fs::File::open(&back).map_err(|error| Failure::io(back.display(), &error))?;
        std::io::copy(&mut from, &mut hasher).map_err(|error| Failure::io(back.display(), &error))?;
        let found = *hasher.finalize().as_bytes();
        if found != *hash {
            return Err(Failure::new(format!(
                "what came back is not what was stored: {} and {}",
                hex(&found),
                hex(hash)
            )));
        }
        let _ = std::fs::remove_file(&back);
        self.stage.done(text, &format!("byte for byte: BLAKE3 {} = {}", hex(&hash[..12]), hex(&found[..12])))?;
        Ok(())
    }

    fn leave(&mut self, took: Duration) -> Result<(), Failure> {
        let data = self.machines[0].data();
        let others = self.names(|at, burnt| !burnt.contains(&at));
        let okapi = std::env::current_exe().unwrap_or_else(|_| PathBuf::from("okapi"));
        let okapi = okapi.display();
        let at = match self.place == std::env::temp_dir().join("okapi-demo") {
            true => String::new(),
            false => format!(" --at {}", self.place.display()),
        };
        let lines = [
            String::new(),
            format!("Nothing was lost, in {}. ada, {others} still run; look at them:", crate::size::lasted(took)),
            String::new(),
            format!("    {okapi} --data {} status", data.display()),
            format!("    {okapi} --data {} members", data.display()),
            format!("    {okapi} --data {} ls -l", data.display()),
            String::new(),
            format!("{} {okapi} demo --stop{at}", self.stage.faint("To end them and remove what they have:")),
        ];
        lines.iter().try_for_each(|line| self.stage.say(line))
    }

    /// Waits, and shows how things are meanwhile.
    fn until(&mut self, text: &str, mut is: impl FnMut(&[Option<GroupStatus>]) -> bool) -> Result<(), Failure> {
        let begun = Instant::now();
        loop {
            let all = self.look();
            if is(&all) {
                return Ok(());
            }
            let actors = self.actors_of(&all);
            self.stage.show(&actors, text)?;
            if self.interrupted.is_set() {
                return Err(Failure::of("interrupted", "the demo was interrupted"));
            }
            if begun.elapsed() > PATIENCE {
                return Err(Failure::new(format!("this took too long: {text}")));
            }
            std::thread::sleep(LOOK_EVERY);
        }
    }

    fn look(&mut self) -> Vec<Option<GroupStatus>> {
        let states = self.states;
        self.machines
            .iter_mut()
            .zip(states)
            .map(|(machine, state)| if state == State::Up { machine.status() } else { None })
            .collect()
    }

    fn actors(&mut self) -> Vec<Actor> {
        let all = self.look();
        self.actors_of(&all)
    }

    fn actors_of(&self, all: &[Option<GroupStatus>]) -> Vec<Actor> {
        let actor = |((name, state), status): ((&'static str, State), &Option<GroupStatus>)| {
            let halves = status.as_ref().map(|status| status.halves).unwrap_or_default();
            Actor { name, state, own: halves.user_used, held: halves.server_used }
        };
        NAMES.into_iter().zip(self.states).zip(all).map(actor).collect()
    }
}

fn name_of(file: &Path) -> String {
    let name = file.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    crate::view::cut(&crate::view::shown(&name), 24)
}
