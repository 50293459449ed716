//! A walk over JSON that reads only what it is asked for.

use std::ops::Range;

/// The walk cannot tell; the text has to be parsed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unsure;

/// The keys of an object that have been met. Of a key that comes twice the last one counts, which the
/// skimmer, having read the first, leaves to the parser.
pub(crate) struct Seen(u8);

impl Seen {
    pub(crate) fn new() -> Self {
        Self(0)
    }

    pub(crate) fn once(&mut self, bit: u8) -> Result<(), Unsure> {
        if self.0 & bit != 0 {
            return Err(Unsure);
        }
        self.0 |= bit;
        Ok(())
    }
}

/// The values of a chunk that were asked whether they are filled, and are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum FilledStrings {
    None,
    /// One string; this is its inside.
    One(Range<usize>),
    /// Several values, or one that is no string.
    Other,
}

/// A place in a JSON text, moved on value by value.
pub(crate) struct Walker<'a> {
    bytes: &'a [u8],
    at: usize,
    strings: FilledStrings,
}

impl<'a> Walker<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self {
            bytes,
            at: 0,
            strings: FilledStrings::None,
        }
    }

    /// The values that were found filled on the way.
    pub(crate) fn into_filled_strings(self) -> FilledStrings {
        self.strings
    }

    /// The next byte that is no white space, left where it is.
    #[inline]
    pub(crate) fn peek(&mut self) -> Result<u8, Unsure> {
        loop {
            match self.bytes.get(self.at) {
                Some(b' ' | b'\n' | b'\r' | b'\t') => self.at += 1,
                Some(&byte) => return Ok(byte),
                None => return Err(Unsure),
            }
        }
    }

    #[inline]
    fn expect(&mut self, byte: u8) -> Result<(), Unsure> {
        if self.peek()? != byte {
            return Err(Unsure);
        }
        self.at += 1;
        Ok(())
    }

    /// Whether the list that was entered ends here, or its next member follows.
    #[inline]
    fn ends(&mut self, first: &mut bool, close: u8) -> Result<bool, Unsure> {
        let byte = self.peek()?;
        if byte == close {
            self.at += 1;
            return Ok(true);
        }
        if !std::mem::replace(first, false) {
            self.expect(b',')?;
        }
        Ok(false)
    }

    /// Walks an object; `member` has to consume the value of each key.
    #[inline]
    pub(crate) fn object(
        &mut self,
        mut member: impl FnMut(&mut Self, &'a [u8]) -> Result<(), Unsure>,
    ) -> Result<(), Unsure> {
        self.expect(b'{')?;
        let mut first = true;
        while !self.ends(&mut first, b'}')? {
            let key = self.string()?;
            if key.contains(&b'\\') {
                return Err(Unsure);
            }
            self.expect(b':')?;
            member(self, key)?;
        }
        Ok(())
    }

    #[inline]
    pub(crate) fn object_or_null(
        &mut self,
        member: impl FnMut(&mut Self, &'a [u8]) -> Result<(), Unsure>,
    ) -> Result<(), Unsure> {
        if self.peek()? == b'n' {
            self.skip()
        } else {
            self.object(member)
        }
    }

    /// Walks an array; `element` has to consume each element.
    #[inline]
    pub(crate) fn array_or_null(
        &mut self,
        mut element: impl FnMut(&mut Self) -> Result<(), Unsure>,
    ) -> Result<(), Unsure> {
        if self.peek()? == b'n' {
            return self.skip();
        }
        self.expect(b'[')?;
        let mut first = true;
        while !self.ends(&mut first, b']')? {
            element(self)?;
        }
        Ok(())
    }

    /// The inside of a string, its escapes as they stand.
    #[inline]
    pub(crate) fn string(&mut self) -> Result<&'a [u8], Unsure> {
        self.expect(b'"')?;
        let start = self.at;
        let end = start + string_end(self.bytes.get(start..).ok_or(Unsure)?).ok_or(Unsure)?;
        self.at = end + 1;
        Ok(&self.bytes[start..end])
    }

    /// Skips a value and tells whether it is a string, array or object that is not empty.
    #[inline]
    pub(crate) fn filled(&mut self) -> Result<bool, Unsure> {
        let close = match self.peek()? {
            b'"' => {
                let inside = self.string()?;
                if !inside.is_empty() {
                    let end = self.at - 1;
                    self.note_filled(Some(end - inside.len()..end));
                }
                return Ok(!inside.is_empty());
            }
            b'[' => b']',
            b'{' => b'}',
            _ => return self.skip().map(|()| false),
        };
        let start = self.at;
        self.at += 1;
        let filled = self.peek()? != close;
        self.at = start;
        self.skip()?;
        if filled {
            self.note_filled(None);
        }
        Ok(filled)
    }

    fn note_filled(&mut self, string: Option<Range<usize>>) {
        self.strings = match (&self.strings, string) {
            (FilledStrings::None, Some(inside)) => FilledStrings::One(inside),
            _ => FilledStrings::Other,
        };
    }

    /// The bytes of a value, unless it is `null`.
    #[inline]
    pub(crate) fn unless_null(&mut self) -> Result<Option<&'a [u8]>, Unsure> {
        let null = self.peek()? == b'n';
        let start = self.at;
        self.skip()?;
        Ok((!null).then(|| &self.bytes[start..self.at]))
    }

    #[inline]
    pub(crate) fn skip(&mut self) -> Result<(), Unsure> {
        match self.peek()? {
            b'"' => self.string().map(|_| ()),
            b'{' | b'[' => self.skip_nested(),
            b'-' | b'0'..=b'9' | b'a'..=b'z' => {
                let rest = &self.bytes[self.at..];
                let end = rest
                    .iter()
                    .position(|byte| matches!(byte, b',' | b'}' | b']' | b' ' | b'\n' | b'\r' | b'\t'));
                self.at += end.unwrap_or(rest.len());
                Ok(())
            }
            _ => Err(Unsure),
        }
    }

    fn skip_nested(&mut self) -> Result<(), Unsure> {
        let mut depth = 0_u32;
        loop {
            match self.bytes.get(self.at).ok_or(Unsure)? {
                b'"' => {
                    self.string()?;
                    continue;
                }
                b'{' | b'[' => depth += 1,
                b'}' | b']' => depth -= 1,
                _ => {}
            }
            self.at += 1;
            if depth == 0 {
                return Ok(());
            }
        }
    }
}

/// Where the string ends whose inside these bytes begin with: at its first quote that is not escaped.
///
/// Eight bytes at a time: most strings of a chunk are too short for a vectorised search to pay.
#[inline]
pub(crate) fn string_end(bytes: &[u8]) -> Option<usize> {
    const ONES: u64 = 0x0101_0101_0101_0101;
    // The lowest flag is that of the first byte equal to `byte`; only flags above it may be wrong.
    let flags = |word: u64, byte: u8| {
        let differs = word ^ (ONES * u64::from(byte));
        differs.wrapping_sub(ONES) & !differs & (ONES << 7)
    };
    let mut at = 0;
    loop {
        let found = match bytes.get(at..at + 8) {
            Some(eight) => {
                let word = u64::from_le_bytes(eight.try_into().ok()?);
                let flags = flags(word, b'"') | flags(word, b'\\');
                if flags == 0 {
                    at += 8;
                    continue;
                }
                at + flags.trailing_zeros() as usize / 8
            }
            None => {
                at + bytes
                    .get(at..)?
                    .iter()
                    .position(|byte| matches!(byte, b'"' | b'\\'))?
            }
        };
        if bytes[found] == b'"' {
            return Some(found);
        }
        at = found + 2;
    }
}
