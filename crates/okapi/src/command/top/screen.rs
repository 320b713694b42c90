//! What is to be seen: the last status, what went before, and which node is chosen.

use super::history::History;
use okapi_client::group::{GroupMember, GroupStatus, MemberState, NodeId};
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use std::time::Instant;

/// What is to be seen.
pub(super) struct Screen {
    /// Whether there are colours.
    pub(super) colored: bool,
    pub(super) history: History,
    pub(super) status: Option<GroupStatus>,
    /// Why the node was not seen just now.
    pub(super) trouble: Option<String>,
    chosen: Option<NodeId>,
}

impl Screen {
    pub(super) fn new(colored: bool) -> Self {
        Self { colored, history: History::default(), status: None, trouble: None, chosen: None }
    }

    /// Takes in a look at the node.
    pub(super) fn saw(&mut self, at: Instant, status: GroupStatus) {
        self.history.saw(at, &status);
        self.status = Some(status);
        self.trouble = None;
    }

    /// Takes in that the node could not be seen; what was seen before stays.
    pub(super) fn saw_nothing(&mut self, why: String) {
        self.trouble = Some(why);
    }

    /// The nodes that are listed: those that have not left.
    pub(super) fn members(&self) -> Vec<&GroupMember> {
        let members = self.status.iter().flat_map(|status| &status.members);
        members.filter(|member| member.state != MemberState::Parted).collect()
    }

    /// Which of them is chosen.
    pub(super) fn chosen(&self) -> Option<usize> {
        self.members().iter().position(|member| Some(member.node) == self.chosen)
    }

    /// Does what a key says; true if that is to end.
    pub(super) fn key(&mut self, key: KeyEvent) -> bool {
        if key.kind == KeyEventKind::Release {
            return false;
        }
        let last = self.members().len().saturating_sub(1);
        let at = self.chosen();
        let to = match key.code {
            KeyCode::Char('q') | KeyCode::Esc => return true,
            KeyCode::Char('c' | 'd') if key.modifiers.contains(KeyModifiers::CONTROL) => return true,
            KeyCode::Down | KeyCode::Char('j') => at.map_or(0, |at| (at + 1).min(last)),
            KeyCode::Up | KeyCode::Char('k') => at.map_or(last, |at| at.saturating_sub(1)),
            KeyCode::Home => 0,
            KeyCode::End => last,
            _ => return false,
        };
        self.chosen = self.members().get(to).map(|member| member.node);
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::standing::pretend;

    fn press(screen: &mut Screen, code: KeyCode) -> (bool, Option<usize>) {
        let end = screen.key(KeyEvent::new(code, KeyModifiers::NONE));
        (end, screen.chosen())
    }

    #[test]
    fn arrows_choose_and_a_choice_stays_with_its_node() {
        let mut screen = Screen::new(false);
        assert_eq!(press(&mut screen, KeyCode::Down), (false, None), "there is nobody yet");
        screen.saw(Instant::now(), pretend::member());
        assert_eq!(press(&mut screen, KeyCode::Up), (false, Some(4)));
        assert_eq!(press(&mut screen, KeyCode::Down), (false, Some(4)), "there is nobody below");
        assert_eq!(press(&mut screen, KeyCode::Home), (false, Some(0)));
        assert_eq!(press(&mut screen, KeyCode::Up), (false, Some(0)));
        assert_eq!(press(&mut screen, KeyCode::Char('j')), (false, Some(1)));
        let mut status = pretend::member();
        status.members.remove(0);
        screen.saw(Instant::now(), status);
        assert_eq!(screen.chosen(), Some(0));
        screen.saw_nothing("gone".to_owned());
        assert_eq!(screen.chosen(), Some(0), "what was seen stays");
        screen.saw(Instant::now(), pretend::alone());
        assert_eq!((screen.chosen(), screen.trouble.as_deref()), (None, None));
        assert_eq!(press(&mut screen, KeyCode::End), (false, Some(0)));
    }

    #[test]
    fn q_and_ctrl_c_end_it() {
        let mut screen = Screen::new(false);
        assert!(press(&mut screen, KeyCode::Char('q')).0 && press(&mut screen, KeyCode::Esc).0);
        assert!(screen.key(KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL)));
        assert!(!press(&mut screen, KeyCode::Char('c')).0);
    }
}
