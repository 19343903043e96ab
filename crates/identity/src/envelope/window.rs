//! Which of a sender's numbers a receiver has seen: the highest, and a bitmap of those just below it.

use super::Refused;

/// How many numbers, the highest among them, are told apart. What is farther behind is refused.
pub const WINDOW: u64 = 1024;
const WORDS: usize = 16;

/// A sliding window over one sender's numbers.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Window {
    /// The highest number seen; 0 if none was.
    highest: u64,
    /// Bit `n`: whether `highest - n` was seen.
    seen: [u64; WORDS],
}

impl Window {
    /// Takes a number, once.
    ///
    /// # Errors
    /// [`Refused::Replay`] if it was taken before, [`Refused::Behind`] if nobody knows any more. Then nothing changes.
    pub fn take(&mut self, number: u64) -> Result<(), Refused> {
        if number > self.highest {
            self.slide(number - self.highest);
            self.highest = number;
        }
        let behind = self.highest - number;
        if behind >= WINDOW || number == 0 {
            return Err(Refused::Behind);
        }
        let (word, bit) = place(behind);
        let word = self.seen.get_mut(word).ok_or(Refused::Behind)?;
        if *word & bit != 0 {
            return Err(Refused::Replay);
        }
        *word |= bit;
        Ok(())
    }

    /// The highest number, and the bitmap in hexadecimal, the nearest first.
    pub(super) fn parts(&self) -> (u64, String) {
        let words = self.seen.iter().map(|word| format!("{word:016x}"));
        (self.highest, words.collect())
    }

    /// Reads what [`Window::parts`] wrote.
    pub(super) fn of(highest: u64, seen: &str) -> Option<Self> {
        let mut window = Self { highest, ..Self::default() };
        if seen.len() != WORDS * 16 || !seen.is_ascii() {
            return None;
        }
        for (at, word) in window.seen.iter_mut().enumerate() {
            *word = u64::from_str_radix(seen.get(at * 16..at * 16 + 16)?, 16).ok()?;
        }
        (window.parts().1 == seen).then_some(window)
    }

    fn slide(&mut self, by: u64) {
        let by = usize::try_from(by.min(WINDOW)).unwrap_or(WORDS * 64);
        let (words, bits) = (by / 64, by % 64);
        let old = self.seen;
        for (at, word) in self.seen.iter_mut().enumerate() {
            let from = |at: Option<usize>| at.and_then(|at| old.get(at)).copied().unwrap_or(0);
            let low = from(at.checked_sub(words));
            let high = from(at.checked_sub(words + 1));
            *word = if bits == 0 { low } else { low << bits | high >> (64 - bits) };
        }
    }
}

fn place(behind: u64) -> (usize, u64) {
    (usize::try_from(behind / 64).unwrap_or(WORDS), 1 << (behind % 64))
}
