//! The bytes of one file: what readers see, and what a power cut would leave.

use std::collections::BTreeMap;
use std::mem;

use quipu_runtime::Rng;

/// What a disk writes as a whole.
const SECTOR: usize = 512;
/// What the page cache writes back together.
const PAGE_SECTORS: usize = 8;
/// Contents remembered for one sector between two flushes.
const VERSIONS_MAX: usize = 4;

type Sector = Box<[u8; SECTOR]>;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct InodeId(pub(super) u64);

#[derive(Clone, Debug, Default)]
pub(super) struct Inode {
    /// What readers see.
    content: Vec<u8>,
    /// The length a power cut leaves for certain.
    durable_len: usize,
    /// Sectors not flushed: their flushed content first, then those in between.
    dirty: BTreeMap<usize, Vec<Sector>>,
    /// Sectors that a failed flush marked clean without writing them: their flushed content.
    lost: BTreeMap<usize, Sector>,
}

/// How much of the unflushed arrives before the power is gone.
#[derive(Clone, Copy)]
enum Arrival {
    Nothing,
    Everything,
    Sectors,
    Pages { salt: u64 },
    Prefix { sectors: usize },
}

impl Inode {
    pub(super) fn len(&self) -> usize {
        self.content.len()
    }

    pub(super) fn read(&self, buf: &mut [u8], at: usize) -> usize {
        let Some(rest) = self.content.get(at..) else { return 0 };
        let count = rest.len().min(buf.len());
        buf[..count].copy_from_slice(&rest[..count]);
        count
    }

    pub(super) fn write(&mut self, bytes: &[u8], at: usize) {
        if bytes.is_empty() {
            return;
        }
        let end = at + bytes.len();
        self.touch(at, end);
        if end > self.content.len() {
            self.content.resize(end, 0);
        }
        self.content[at..end].copy_from_slice(bytes);
    }

    pub(super) fn set_len(&mut self, bytes: usize) {
        if bytes < self.content.len() {
            self.touch(bytes, self.content.len());
        }
        self.content.resize(bytes, 0);
    }

    pub(super) fn sync(&mut self) {
        self.dirty.clear();
        self.durable_len = self.content.len();
    }

    /// A flush that fails: some sectors arrive, the rest count as clean all the same.
    pub(super) fn sync_in_vain(&mut self, rng: &mut Rng) {
        for (sector, mut versions) in mem::take(&mut self.dirty) {
            if rng.below(2) == 0 {
                self.lost.insert(sector, versions.swap_remove(0));
            }
        }
        if rng.below(2) == 0 {
            self.durable_len = self.content.len();
        }
    }

    pub(super) fn flip(&mut self, byte: usize, bit: u8) {
        assert!(byte < self.content.len(), "byte {byte} of {}", self.content.len());
        let mask = 1 << (bit % 8);
        self.content[byte] ^= mask;
        for version in self.dirty.get_mut(&(byte / SECTOR)).into_iter().flatten() {
            version[byte % SECTOR] ^= mask;
        }
    }

    /// What is left after a power cut.
    pub(super) fn survive(&self, rng: &mut Rng) -> Self {
        let arrival = self.draw_arrival(rng);
        let mut content = self.content.clone();
        content.resize(self.content.len().max(self.durable_len), 0);
        for (order, (sector, versions)) in self.dirty.iter().enumerate() {
            if let Some(version) = pick(versions, arrival, (order, *sector), rng) {
                restore(&mut content, *sector, version);
            }
        }
        for (sector, version) in &self.lost {
            restore(&mut content, *sector, version);
        }
        content.truncate(self.draw_len(arrival, rng));
        Self { durable_len: content.len(), content, ..Self::default() }
    }

    fn draw_arrival(&self, rng: &mut Rng) -> Arrival {
        match rng.below(6) {
            0 => Arrival::Nothing,
            1 => Arrival::Everything,
            2 => Arrival::Pages { salt: rng.next_u64() },
            3 => {
                let sectors = rng.below(u64::try_from(self.dirty.len()).unwrap_or(0) + 1);
                Arrival::Prefix { sectors: usize::try_from(sectors).unwrap_or(usize::MAX) }
            }
            _ => Arrival::Sectors,
        }
    }

    fn draw_len(&self, arrival: Arrival, rng: &mut Rng) -> usize {
        let (low, high) =
            (self.content.len().min(self.durable_len), self.content.len().max(self.durable_len));
        match arrival {
            Arrival::Nothing => self.durable_len,
            Arrival::Everything => self.content.len(),
            Arrival::Sectors | Arrival::Pages { .. } | Arrival::Prefix { .. } => {
                match rng.below(3) {
                    0 => self.durable_len,
                    1 => self.content.len(),
                    _ => {
                        let span = u64::try_from(high - low).unwrap_or(0) + 1;
                        low + usize::try_from(rng.below(span)).unwrap_or(0)
                    }
                }
            }
        }
    }

    /// Remembers the sectors of a range before they change.
    fn touch(&mut self, from: usize, to: usize) {
        for sector in from / SECTOR..to.div_ceil(SECTOR) {
            let current = self.sector(sector);
            match self.dirty.get_mut(&sector) {
                Some(versions) if versions.len() < VERSIONS_MAX => versions.push(current),
                Some(_) => {}
                None => {
                    let flushed = self.lost.remove(&sector).unwrap_or(current);
                    self.dirty.insert(sector, vec![flushed]);
                }
            }
        }
    }

    fn sector(&self, sector: usize) -> Sector {
        let mut bytes = Box::new([0; SECTOR]);
        self.read(&mut bytes[..], sector * SECTOR);
        bytes
    }
}

/// The content a dirty sector falls back to; `None`: the newest arrived.
fn pick<'a>(
    versions: &'a [Sector],
    arrival: Arrival,
    (order, sector): (usize, usize),
    rng: &mut Rng,
) -> Option<&'a Sector> {
    let has_arrived = match arrival {
        Arrival::Nothing => false,
        Arrival::Everything => true,
        Arrival::Prefix { sectors } => order < sectors,
        Arrival::Pages { salt } => {
            let page = u64::try_from(sector / PAGE_SECTORS).unwrap_or(0);
            Rng::seeded(salt ^ page).below(2) == 0
        }
        Arrival::Sectors => {
            let count = u64::try_from(versions.len()).unwrap_or(1);
            let drawn = usize::try_from(rng.below(count + 1)).unwrap_or(0);
            return versions.get(drawn);
        }
    };
    if has_arrived { None } else { versions.first() }
}

fn restore(content: &mut [u8], sector: usize, version: &Sector) {
    let start = (sector * SECTOR).min(content.len());
    let end = (start + SECTOR).min(content.len());
    content[start..end].copy_from_slice(&version[..end - start]);
}
