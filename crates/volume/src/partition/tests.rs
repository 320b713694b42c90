use super::*;

impl Shown for Vec<u8> {
    fn size(&self) -> u64 {
        self.len() as u64
    }

    fn read(&self, offset: u64, length: usize) -> Result<Vec<u8>, DiskError> {
        Ok(self[offset as usize..][..length].to_vec())
    }
}

const MIB: usize = 1 << 20;

fn put(image: &mut [u8], at: usize, bytes: &[u8]) {
    image[at..at + bytes.len()].copy_from_slice(bytes);
}

/// Partitions by their first and last sector, in the old table.
fn old(size: usize, partitions: &[(u32, u32)]) -> Vec<u8> {
    let mut image = vec![0; size];
    put(&mut image, 510, &[0x55, 0xAA]);
    for (number, (first, last)) in partitions.iter().enumerate() {
        let at = 446 + 16 * number;
        image[at + 4] = 0x83;
        put(&mut image, at + 8, &first.to_le_bytes());
        put(&mut image, at + 12, &(last + 1 - first).to_le_bytes());
    }
    image
}

/// The same in the newer table, with names, as other programs write it.
fn new(size: usize, partitions: &[(u64, u64, &str)]) -> Vec<u8> {
    let mut image = vec![0; size];
    put(&mut image, 510, &[0x55, 0xAA]);
    image[446 + 4] = 0xEE;
    let sectors = size as u64 / 512;
    let mut entries = vec![0; 128 * 128];
    for (number, (first, last, name)) in partitions.iter().enumerate() {
        let entry = &mut entries[number * 128..][..128];
        entry[..32].fill(7);
        entry[32..40].copy_from_slice(&first.to_le_bytes());
        entry[40..48].copy_from_slice(&last.to_le_bytes());
        for (at, byte) in name.bytes().enumerate() {
            entry[56 + 2 * at] = byte;
        }
    }
    let crc = |bytes: &[u8]| crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32IsoHdlc, bytes) as u32;
    let mut header = b"EFI PART\0\0\x01\0\x5C\0\0\0".to_vec();
    header.resize(92, 0);
    for (at, value) in [(24, 1), (32, sectors - 1), (40, 2048), (48, sectors - 34), (72, 2)] {
        put(&mut header, at, &u64::to_le_bytes(value));
    }
    put(&mut header, 80, &[128, 0, 0, 0, 128]);
    put(&mut header, 88, &crc(&entries).to_le_bytes());
    let sum = crc(&header);
    put(&mut header, 16, &sum.to_le_bytes());
    put(&mut image, 512, &header);
    put(&mut image, 1024, &entries);
    image
}

fn added(image: &Vec<u8>) -> (Addition, Vec<u8>) {
    let added = addition(image, [9; 16]).unwrap_or_else(|wrong| panic!("{}", wrong.of("disk")));
    let mut after = image.clone();
    after.resize(added.size as usize, 0);
    added.writes.iter().for_each(|(at, bytes)| put(&mut after, *at as usize, bytes));
    assert_eq!(place(&after), Ok(Some(added.place.clone())));
    (added, after)
}

fn place(image: &Vec<u8>) -> Result<Option<Range<u64>>, String> {
    place_of(image).map_err(|wrong| wrong.of("disk").to_string())
}

#[test]
fn places_are_found_by_their_name_or_by_the_label_of_what_is_in_them() {
    let image = new(4 * MIB, &[(2048, 4095, "root"), (4096, 6143, "cidata")]);
    assert_eq!(place(&image), Ok(Some(4096 * 512..6144 * 512)));
    let mut image = old(4 * MIB, &[(2048, 4095), (4096, 6143)]);
    assert_eq!(place(&image), Ok(None));
    put(&mut image, 4096 * 512, &seed::seed(&[], 1 << 20).unwrap());
    assert_eq!(place(&image), Ok(Some(4096 * 512..6144 * 512)));
    let mut image = old(4 * MIB, &[(2048, 4095)]);
    put(&mut image, 2048 * 512 + 32_768, b"\x01CD001");
    put(&mut image, 2048 * 512 + 32_768 + 40, b"cidata                          ");
    assert_eq!(place(&image), Ok(Some(2048 * 512..4096 * 512)));
    // What is past the end is nowhere.
    assert_eq!(place(&new(4 * MIB, &[(4096, 9000, "CIDATA")])), Ok(None));
}

#[test]
fn a_place_is_where_nothing_is() {
    // Between the newer table and the first partition.
    let image = new(4 * MIB, &[(2048, 8100, "root")]);
    let (addition, after) = added(&image);
    assert_eq!((addition.size, addition.place), (4 << 20, 40 * 512..2048 * 512));
    assert_eq!(after[34 * 512..40 * 512], image[34 * 512..40 * 512]);
    // But not where something lies there, as what starts some machines does.
    let mut image = new(4 * MIB, &[(2048, 4095, "root")]);
    image[64 * 512] = 1;
    assert_eq!(added(&image).0.place, 4096 * 512..6144 * 512);
    // Never before the first of the old table.
    let image = old(4 * MIB, &[(2048, 4095)]);
    assert_eq!(added(&image).0.place, 4096 * 512..6144 * 512);
}

#[test]
fn where_there_is_no_room_the_disk_grows() {
    let mut image = new(4 * MIB, &[(2048, 8158, "root")]);
    image[64 * 512] = 1;
    let (addition, after) = added(&image);
    assert_eq!(addition.place, (4 << 20)..(5 << 20));
    assert!(addition.size > 5 << 20 && addition.size.is_multiple_of(4096));
    // The copy at the new end says the same, seen from there.
    let end = after.len() - 512;
    assert_eq!(&after[end..end + 8], b"EFI PART");
    assert_eq!(after[end + 24..][..8], (after.len() as u64 / 512 - 1).to_le_bytes());
    assert_eq!(after[end + 88..][..4], after[512 + 88..][..4]);
    let image = old(4 * MIB, &[(2048, 8191)]);
    let (addition, _) = added(&image);
    assert_eq!((addition.size, addition.place), (5 << 20, (4 << 20)..(5 << 20)));
}

#[test]
fn what_is_no_table_is_told() {
    let told = |image: &Vec<u8>| addition(image, [0; 16]).map_err(|wrong| wrong.of("d").to_string()).unwrap_err();
    assert_eq!(told(&vec![0; 4 * MIB]), "disk `d` has no partition table");
    assert_eq!(told(&vec![0; 512]), "disk `d` has no partition table");
    let mut volume = vec![0; 4 * MIB];
    put(&mut volume, 0, &seed::seed(&[], 1 << 20).unwrap());
    assert_eq!(told(&volume), "disk `d` has no partition table", "a volume is none, though it ends like one");
    let full = old(4 * MIB, &[(2048, 2049), (2050, 2051), (2052, 2053), (2054, 2055)]);
    assert_eq!(told(&full), "the partition table of disk `d` is full");
    assert!(told(&old(4 * MIB, &[(2048, 9000)])).ends_with("a partition reaches past the disk's end"));
    assert!(told(&new(4 * MIB, &[(2048, 9000, "")])).ends_with("a partition reaches past the disk's end"));
    let mut cut = new(4 * MIB, &[]);
    cut.truncate(1024);
    assert!(told(&cut).ends_with("its entries are not on the disk"));
}

#[test]
fn bent_tables_are_refused_or_read_and_nothing_else() {
    let image = new(4 * MIB, &[(2048, 4095, "root")]);
    for at in (0..1024).chain((1024..1024 + 256).step_by(3)) {
        for bits in [0xFF, 0x01] {
            let mut bent = image.clone();
            bent[at] ^= bits;
            let _ = place(&bent);
            let _ = addition(&bent, [0; 16]);
            // With sums that fit.
            let crc = |bytes: &[u8]| crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32IsoHdlc, bytes) as u32;
            let entries = crc(&bent[1024..1024 + 128 * 128]);
            put(&mut bent, 512 + 88, &entries.to_le_bytes());
            put(&mut bent, 512 + 16, &[0; 4]);
            let sum = crc(&bent[512..512 + 92]);
            put(&mut bent, 512 + 16, &sum.to_le_bytes());
            let _ = place(&bent);
            let _ = addition(&bent, [0; 16]);
        }
    }
}
