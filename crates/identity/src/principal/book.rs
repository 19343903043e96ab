//! The orders of a home in one file, in their order, for the life of the log.
//!
//! The adversary changes, drops or adds an order on the disk. Each names the digest of the one before it, and the
//! log's last word is the digest of the last: one text fits, and nothing else is read. What stands after it was never
//! acknowledged, and is written over.

use std::path::Path;
use std::sync::Arc;

use tipstaff_core::Digest;
use tipstaff_store::{Disk, DiskFile, StoreError};

use super::{ChangeFault, OrderFault, Principals, SignedOrder};

/// The file, in the home.
const ORDERS: &str = "orders";
/// Lines that are read at a time by one thread.
const PART: usize = 2048;
/// Threads that read.
const READERS_MAX: usize = 8;

/// The orders that are kept.
#[derive(Debug)]
pub struct Book {
    disk: Arc<dyn Disk>,
    file: Option<Arc<dyn DiskFile>>,
    end: u64,
}

/// Why the orders can't be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BookError {
    /// It is not there, or is not what it was.
    #[error("the order {0} is missing, or was changed")]
    Missing(Digest),
    /// It is no order.
    #[error("the order {0}: {1}")]
    Malformed(Digest, OrderFault),
    /// It can't stand where it stands.
    #[error("the order {0}: {1}")]
    Misplaced(Digest, ChangeFault),
    /// The disk failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// One line: its digest, and the order that it is.
type Line = (Digest, Result<SignedOrder, OrderFault>);

impl Book {
    /// Folds the orders up to the last one that the log names, and goes on after it. `kept` has those that were kept
    /// in a file of each one's own, as earlier releases did.
    ///
    /// # Errors
    /// [`BookError`]
    pub fn open(
        disk: Arc<dyn Disk>,
        head: Option<Digest>,
        kept: impl FnMut(Digest) -> Option<String>,
    ) -> Result<(Self, Principals), BookError> {
        let (known, end) = fold(&*disk, head, kept)?;
        Ok((Self { disk, file: None, end }, known))
    }

    /// The fold alone.
    ///
    /// # Errors
    /// [`BookError`]
    pub fn read(
        disk: &dyn Disk,
        head: Option<Digest>,
        kept: impl FnMut(Digest) -> Option<String>,
    ) -> Result<Principals, BookError> {
        Ok(fold(disk, head, kept)?.0)
    }

    /// Keeps orders, with one sync for all. They count when the log names them.
    ///
    /// # Errors
    /// [`StoreError`]; then the next ones are written over them.
    pub fn append<'a>(
        &mut self,
        texts: impl IntoIterator<Item = &'a str>,
    ) -> Result<(), StoreError> {
        let mut bytes = Vec::new();
        for text in texts {
            bytes.extend_from_slice(text.as_bytes());
            bytes.push(b'\n');
        }
        let file = match &self.file {
            Some(file) => Arc::clone(file),
            None => {
                let is_new = !self.disk.list(Path::new(""))?.iter().any(|name| name == ORDERS);
                let file = self.disk.open(Path::new(ORDERS))?;
                if is_new {
                    // Its name has to be durable too, once.
                    self.disk.sync_folder(Path::new(""))?;
                }
                Arc::clone(self.file.insert(file))
            }
        };
        file.write_at(self.end, &bytes)?;
        file.sync()?;
        self.end += bytes.len() as u64;
        Ok(())
    }
}

/// Everybody up to an order, and where that order ends in the file.
fn fold(
    disk: &dyn Disk,
    head: Option<Digest>,
    mut kept: impl FnMut(Digest) -> Option<String>,
) -> Result<(Principals, u64), BookError> {
    let Some(head) = head else { return Ok((Principals::default(), 0)) };
    let bytes = match disk.read(Path::new(ORDERS)) {
        Ok(bytes) => bytes,
        Err(StoreError::NotFound(_)) => Vec::new(),
        Err(error) => return Err(error.into()),
    };
    match in_file(&bytes, head, &mut kept)? {
        Some(found) => Ok(found),
        // Nothing in the file counts: the last one is of an earlier release, or gone.
        None => Ok((older(Some(head), &mut kept)?, 0)),
    }
}

/// The same for an order in the file; `None` if it is not there.
fn in_file(
    bytes: &[u8],
    head: Digest,
    kept: &mut impl FnMut(Digest) -> Option<String>,
) -> Result<Option<(Principals, u64)>, BookError> {
    // A line that was not finished was not acknowledged.
    let lines: Vec<&[u8]> = bytes.split_inclusive(|byte| *byte == b'\n').collect();
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(READERS_MAX);
    let (mut known, mut end) = (None, 0);
    for wave in lines.chunks(PART * threads) {
        let parts: Vec<Vec<Line>> = std::thread::scope(|scope| {
            let read = wave.chunks(PART).map(|part| {
                scope.spawn(|| part.iter().map_while(|line| read_line(line)).collect())
            });
            let read: Vec<_> = read.collect();
            // One that did not end ends the file there.
            read.into_iter().map(|part| part.join().unwrap_or_default()).collect()
        });
        for ((digest, order), line) in parts.into_iter().flatten().zip(wave) {
            let Ok(order) = order else { return Ok(None) };
            let known = match &mut known {
                Some(known) => known,
                none => none.insert(older(order.order.prev, kept)?),
            };
            end += line.len() as u64;
            match known.apply_named(&order, digest, u64::MAX) {
                Ok(_) if digest == head => return Ok(Some((std::mem::take(known), end))),
                Ok(_) => {}
                Err(ChangeFault::Stale) => return Ok(None),
                Err(fault) => return Err(BookError::Misplaced(digest, fault)),
            }
        }
    }
    Ok(None)
}

fn read_line(line: &[u8]) -> Option<Line> {
    let text = line.strip_suffix(b"\n")?;
    let text = std::str::from_utf8(text).ok()?;
    // INVARIANT: the digest is in the chain that ends with the log's word, so the text is the one that was written.
    Some((Digest::of(text.as_bytes()), SignedOrder::from_kept(text)))
}

/// Folds orders that have a file each.
fn older(
    head: Option<Digest>,
    kept: &mut impl FnMut(Digest) -> Option<String>,
) -> Result<Principals, BookError> {
    let (mut orders, mut at) = (Vec::new(), head);
    while let Some(digest) = at {
        let text = kept(digest).ok_or(BookError::Missing(digest))?;
        let order = SignedOrder::from_kept(&text);
        let order = order.map_err(|fault| BookError::Malformed(digest, fault))?;
        at = order.order.prev;
        orders.push((digest, order));
    }
    let mut known = Principals::default();
    for (digest, order) in orders.iter().rev() {
        // Its position was looked at when it was given.
        let applied = known.apply_named(order, *digest, u64::MAX);
        applied.map_err(|fault| BookError::Misplaced(*digest, fault))?;
    }
    Ok(known)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use tipstaff_core::Millis;
    use tipstaff_core::key::SigningKey;
    use tipstaff_store::NativeDisk;

    use super::super::{Change, Kind, Name, Order};
    use super::*;

    fn orders(count: u64) -> Vec<SignedOrder> {
        let operator = SigningKey::from_seed(&[255; 32].into()).unwrap();
        let mut prev = None;
        let orders = (0..count).map(|number| {
            let mut seed = [0; 32];
            seed[..8].copy_from_slice(&number.to_le_bytes());
            let change = Change::Enrol {
                name: Name::parse(&format!("p{number}")).unwrap(),
                kind: Kind::Human,
                owner: None,
                key: SigningKey::from_seed(&seed.into()).unwrap().verifying_key().clone(),
                roles: Vec::new(),
            };
            let order = Order { change, log: "l".to_owned(), prev, at: Millis(number) };
            let signed = order.sign(&operator);
            prev = Some(digest(&signed));
            signed
        });
        orders.collect()
    }

    fn digest(order: &SignedOrder) -> Digest {
        Digest::of(order.to_canonical().as_bytes())
    }

    fn texts(orders: &[SignedOrder]) -> Vec<String> {
        orders.iter().map(SignedOrder::to_canonical).collect()
    }

    fn disk() -> (tempfile::TempDir, Arc<dyn Disk>) {
        let folder = tempfile::tempdir().unwrap();
        let disk = Arc::new(NativeDisk::new(folder.path()));
        (folder, disk)
    }

    fn folded(orders: &[SignedOrder]) -> Digest {
        let mut known = Principals::default();
        for order in orders {
            known.apply(order, 0).unwrap();
        }
        known.digest()
    }

    #[test]
    fn what_is_kept_is_the_same_fold_however_it_was_kept() {
        let orders = orders(2 * PART as u64 + 7);
        let (_folder, disk) = disk();
        let old: HashMap<Digest, String> =
            orders[..5].iter().map(|order| (digest(order), order.to_canonical())).collect();
        let kept = |digest| old.get(&digest).cloned();
        // A home of an earlier release, to which orders are added.
        let (mut book, known) =
            Book::open(Arc::clone(&disk), Some(digest(&orders[4])), kept).unwrap();
        assert_eq!(known.digest(), folded(&orders[..5]));
        let texts = texts(&orders);
        book.append(texts[5..6].iter().map(String::as_str)).unwrap();
        book.append(texts[6..].iter().map(String::as_str)).unwrap();
        for last in [4, 5, 6, 4000, orders.len() - 1] {
            let known = Book::read(&*disk, Some(digest(&orders[last])), kept).unwrap();
            assert_eq!(known.digest(), folded(&orders[..=last]), "{last}");
            assert_eq!(known.head(), Some(digest(&orders[last])));
        }
        // Without those of before nothing is known.
        let gone = Book::read(&*disk, Some(digest(&orders[9])), |_| None);
        assert!(matches!(gone, Err(BookError::Missing(_))), "{gone:?}");
    }

    #[test]
    fn what_the_log_does_not_name_is_written_over() {
        let (orders, (_folder, disk)) = (orders(6), disk());
        let texts = texts(&orders);
        let (mut book, _) = Book::open(Arc::clone(&disk), None, |_| None).unwrap();
        book.append(texts.iter().map(String::as_str)).unwrap();
        // The monitor ended before the log had the last three.
        let head = digest(&orders[2]);
        let (mut book, known) = Book::open(Arc::clone(&disk), Some(head), |_| None).unwrap();
        let operator = SigningKey::from_seed(&[255; 32].into()).unwrap();
        let change = Change::Suspend { name: Name::parse("p1").unwrap() };
        let next = Order { change, log: "l".to_owned(), prev: known.head(), at: Millis(9) };
        let next = next.sign(&operator);
        book.append([next.to_canonical().as_str()]).unwrap();
        let (_, again) = Book::open(disk, Some(digest(&next)), |_| None).unwrap();
        let expected = folded(&[orders[..3].to_vec(), vec![next]].concat());
        assert_eq!(again.digest(), expected);
    }

    #[test]
    fn what_was_changed_or_left_out_is_not_read() {
        let (orders, (folder, disk)) = (orders(5), disk());
        let texts = texts(&orders);
        let (mut book, _) = Book::open(Arc::clone(&disk), None, |_| None).unwrap();
        book.append(texts.iter().map(String::as_str)).unwrap();
        let file = folder.path().join(ORDERS);
        let whole = std::fs::read_to_string(&file).unwrap();
        let head = Some(digest(&orders[4]));
        let without = |line: usize| whole.replacen(&format!("{}\n", texts[line]), "", 1);
        let changed = [
            whole.replacen("\"p1\"", "\"px\"", 1),
            whole.replacen("\"p4\"", "\"px\"", 1),
            without(0),
            without(2),
            without(4),
            whole.trim_end().to_owned(),
            whole.replacen("human", "robot", 1),
            String::new(),
        ];
        for text in changed {
            std::fs::write(&file, &text).unwrap();
            assert!(Book::read(&*disk, head, |_| None).is_err(), "{text}");
        }
        std::fs::write(&file, &whole).unwrap();
        assert_eq!(Book::read(&*disk, head, |_| None).unwrap().digest(), folded(&orders));
    }
}
