//! Lines of numbers, read in blocks: the parser that engine and straight loop share.
//!
//! A line is digits and commas, ended by a line feed. Values are parsed as they are scanned; their text stays
//! in the block, for who wants it. A line that is none stops the program: the input is made by a generator.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

const BLOCK_BYTES: usize = 1 << 18;
/// Longer than any line there is.
const LINE_BYTES_MAX: usize = 1 << 10;

/// `N` numbers and where their text stands in the line.
#[derive(Clone, Copy, Debug)]
pub struct Numbers<const N: usize> {
    pub values: [u64; N],
    /// Where each ends.
    ends: [u16; N],
}

/// A line of `N` numbers.
#[derive(Clone, Copy, Debug)]
pub struct Line<'a, const N: usize> {
    pub numbers: Numbers<N>,
    /// Without the line feed.
    pub bytes: &'a [u8],
}

impl<const N: usize> Line<'_, N> {
    /// The digits of one number.
    pub fn text(&self, index: usize) -> &str {
        let start = index.checked_sub(1).map_or(0, |before| usize::from(self.numbers.ends[before]) + 1);
        let digits = &self.bytes[start..usize::from(self.numbers.ends[index])];
        std::str::from_utf8(digits).expect("digits were scanned")
    }
}

/// Reads a file of lines.
pub struct Lines<const N: usize> {
    file: File,
    block: Vec<u8>,
    from: usize,
    to: usize,
}

impl<const N: usize> Lines<N> {
    /// Begins at the file's head.
    ///
    /// # Errors
    /// Where the file can't be opened.
    pub fn open(path: &Path) -> io::Result<Self> {
        Ok(Lines { file: File::open(path)?, block: vec![0; BLOCK_BYTES], from: 0, to: 0 })
    }

    /// The next line, until the file ends.
    ///
    /// # Errors
    /// Where the file can't be read.
    ///
    /// # Panics
    /// At a line that isn't `N` numbers.
    pub fn next_line(&mut self) -> io::Result<Option<Line<'_, N>>> {
        if self.to - self.from < LINE_BYTES_MAX {
            self.fill()?;
        }
        if self.from == self.to {
            return Ok(None);
        }
        let (numbers, len) = scan(&self.block[self.from..self.to]).unwrap_or_else(|| {
            let head = &self.block[self.from..self.to.min(self.from + 80)];
            panic!("not a line of {N} numbers: {}", String::from_utf8_lossy(head))
        });
        let bytes = &self.block[self.from..self.from + len];
        self.from += len + 1;
        Ok(Some(Line { numbers, bytes }))
    }

    /// Moves what is left to the front and reads on.
    fn fill(&mut self) -> io::Result<()> {
        self.block.copy_within(self.from..self.to, 0);
        (self.from, self.to) = (0, self.to - self.from);
        while self.to < LINE_BYTES_MAX {
            let read = self.file.read(&mut self.block[self.to..])?;
            if read == 0 {
                break;
            }
            self.to += read;
        }
        Ok(())
    }
}

/// The numbers of the first line, and its length without the line feed.
fn scan<const N: usize>(bytes: &[u8]) -> Option<(Numbers<N>, usize)> {
    let mut numbers = Numbers { values: [0; N], ends: [0; N] };
    let mut at = 0;
    for index in 0..N {
        let (start, mut value) = (at, 0u64);
        while let digit @ 0..=9 = bytes.get(at)?.wrapping_sub(b'0') {
            value = value.wrapping_mul(10).wrapping_add(u64::from(digit));
            at += 1;
        }
        let ended = bytes[at] == if index + 1 == N { b'\n' } else { b',' };
        if at == start || !ended || at > LINE_BYTES_MAX {
            return None;
        }
        (numbers.values[index], numbers.ends[index]) = (value, at as u16);
        at += 1;
    }
    Some((numbers, at - 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_with_their_text_across_blocks() {
        let dir = tempfile::tempdir().expect("a folder for temporary files");
        let path = dir.path().join("lines.csv");
        let text: String = (0..50_000u64).map(|n| format!("{n},007,{}\n", n * 3)).collect();
        std::fs::write(&path, text).expect("the disk has room");
        let mut lines = Lines::<3>::open(&path).expect("just written");
        for n in 0..50_000u64 {
            let line = lines.next_line().expect("readable").expect("a line");
            assert_eq!(line.numbers.values, [n, 7, n * 3]);
            assert_eq!((line.text(0), line.text(1)), (n.to_string().as_str(), "007"));
            assert_eq!(line.text(2), (n * 3).to_string());
        }
        assert!(lines.next_line().expect("readable").is_none());
    }

    #[test]
    fn what_is_no_line_of_so_many_numbers_is_none() {
        for bytes in ["1,2\n", "1,2,3,4\n", "1,,3\n", "1,-2,3\n", "1,2,3", ""] {
            assert!(scan::<3>(bytes.as_bytes()).is_none(), "{bytes}");
        }
    }
}
