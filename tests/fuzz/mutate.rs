//! Mutations of valid inputs: kinds of damage that find insufficient checks.

/// Bytes at the edges of lengths, signs and counts.
const EDGES: [&[u8]; 10] = [
    b"\x00",
    b"\xff",
    b"\x7f",
    b"\x80",
    b"\x01",
    b"\xfe\xff\xff\xff\xff\xff\xff\xff\xff\x01",
    b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
    b"\xff\xff\xff\xff",
    b"\x00\x00\x00\x80",
    b"\xc0\x80",
];
/// The largest size of an input.
const MAX_LEN: usize = 16 << 10;

pub struct Mutator {
    rng: fastrand::Rng,
    /// Fragments of the format's syntax.
    dictionary: &'static [&'static str],
}

impl Mutator {
    pub fn new(seed: u64, dictionary: &'static [&'static str]) -> Self {
        Self {
            rng: fastrand::Rng::with_seed(seed),
            dictionary,
        }
    }

    pub fn below(&mut self, end: usize) -> usize {
        self.rng.usize(..end)
    }

    /// Returns an input of the corpus with one to six changes.
    pub fn mutated(&mut self, corpus: &[Vec<u8>]) -> Vec<u8> {
        let mut input = corpus[self.below(corpus.len())].clone();
        for _ in 0..=self.below(6) {
            self.change(&mut input, corpus);
        }
        input.truncate(MAX_LEN);
        input
    }

    fn change(&mut self, input: &mut Vec<u8>, corpus: &[Vec<u8>]) {
        let at = self.below(input.len() + 1);
        let range = self.range(input.len());
        match self.below(10) {
            0 => {
                if let Some(byte) = input.get_mut(at) {
                    *byte ^= 1 << self.rng.u8(..8);
                }
            }
            1 => {
                if let Some(byte) = input.get_mut(at) {
                    *byte = self.rng.u8(..);
                }
            }
            2 => drop(input.drain(range)),
            3 => input.truncate(at),
            4 => {
                let piece: Vec<u8> = input[range].to_vec();
                input.splice(at..at, piece);
            }
            5 => {
                let edge = EDGES[self.below(EDGES.len())];
                input.splice(at..at, edge.iter().copied());
            }
            6 => {
                let edge = EDGES[self.below(EDGES.len())];
                let end = (at + edge.len()).min(input.len());
                input.splice(at..end, edge.iter().copied());
            }
            7 => {
                let other = &corpus[self.below(corpus.len())];
                let range = self.range(other.len());
                input.splice(at..at, other[range].iter().copied());
            }
            8 => {
                let times = self.below(400);
                let byte = input.get(at).copied().unwrap_or(b'[');
                input.splice(at..at, std::iter::repeat_n(byte, times));
            }
            _ => {
                if !self.dictionary.is_empty() {
                    let word = self.dictionary[self.below(self.dictionary.len())];
                    input.splice(at..at, word.bytes());
                }
            }
        }
    }

    fn range(&mut self, len: usize) -> std::ops::Range<usize> {
        let from = self.below(len + 1);
        let most = (len - from).min(64);
        from..from + self.below(most + 1)
    }
}
