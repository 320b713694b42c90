//! Reading and writing the bodies of messages.

use alloc::string::String;
use alloc::vec::Vec;

/// A message that is the whole body of a frame.
pub trait Message: Sized {
    /// Appends its bytes.
    fn encode(&self, body: &mut BodyWriter<'_>);

    /// Reads it.
    ///
    /// # Errors
    /// [`BodyError`] if the bytes are not such a message.
    fn decode(body: &mut BodyReader<'_>) -> Result<Self, BodyError>;

    /// Reads it from bytes that must hold nothing else.
    ///
    /// # Errors
    /// [`BodyError`] if the bytes are not such a message, or more than one.
    fn parse(bytes: &[u8]) -> Result<Self, BodyError> {
        let mut body = BodyReader::new(bytes);
        let message = Self::decode(&mut body)?;
        body.end()?;
        Ok(message)
    }
}

/// Appends fields to a body.
#[derive(Debug)]
pub struct BodyWriter<'a>(&'a mut Vec<u8>);

impl<'a> BodyWriter<'a> {
    /// Appends to `out`.
    #[must_use]
    pub fn new(out: &'a mut Vec<u8>) -> Self {
        Self(out)
    }

    /// One byte.
    pub fn u8(&mut self, value: u8) {
        self.0.push(value);
    }

    /// Two bytes.
    pub fn u16(&mut self, value: u16) {
        self.bytes(&value.to_le_bytes());
    }

    /// Four bytes.
    pub fn u32(&mut self, value: u32) {
        self.bytes(&value.to_le_bytes());
    }

    /// Eight bytes.
    pub fn u64(&mut self, value: u64) {
        self.bytes(&value.to_le_bytes());
    }

    /// These bytes, without a length.
    pub fn bytes(&mut self, value: &[u8]) {
        self.0.extend_from_slice(value);
    }

    /// A text: its length in bytes as u16, then UTF-8.
    ///
    /// # Panics
    /// If it has more than 65,535 bytes: every text has a far lower limit of its own, checked where it comes in.
    pub fn text(&mut self, value: &str) {
        self.u16(u16::try_from(value.len()).expect("texts on the wire have a limit below 64 KiB"));
        self.bytes(value.as_bytes());
    }

    /// A list: its length as u32, then each element.
    ///
    /// # Panics
    /// If it has 2^32 elements or more.
    pub fn list<T: Message>(&mut self, values: &[T]) {
        self.u32(u32::try_from(values.len()).expect("lists on the wire are short"));
        for value in values {
            value.encode(self);
        }
    }
}

/// Takes fields from a body.
#[derive(Debug, Clone)]
pub struct BodyReader<'a>(&'a [u8]);

impl<'a> BodyReader<'a> {
    /// Reads from `bytes`.
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// Exactly `count` bytes.
    ///
    /// # Errors
    /// [`BodyError::Short`].
    pub fn take(&mut self, count: usize) -> Result<&'a [u8], BodyError> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(BodyError::Short)?;
        self.0 = rest;
        Ok(taken)
    }

    /// Exactly `N` bytes.
    ///
    /// # Errors
    /// [`BodyError::Short`].
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], BodyError> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    /// One byte.
    ///
    /// # Errors
    /// [`BodyError::Short`].
    pub fn u8(&mut self) -> Result<u8, BodyError> {
        Ok(self.array::<1>()?[0])
    }

    /// Two bytes.
    ///
    /// # Errors
    /// [`BodyError::Short`].
    pub fn u16(&mut self) -> Result<u16, BodyError> {
        Ok(u16::from_le_bytes(self.array()?))
    }

    /// Four bytes.
    ///
    /// # Errors
    /// [`BodyError::Short`].
    pub fn u32(&mut self) -> Result<u32, BodyError> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    /// Eight bytes.
    ///
    /// # Errors
    /// [`BodyError::Short`].
    pub fn u64(&mut self) -> Result<u64, BodyError> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    /// A text of at most `most` bytes.
    ///
    /// # Errors
    /// [`BodyError`] if it is longer, cut off or not UTF-8.
    pub fn text(&mut self, most: usize) -> Result<String, BodyError> {
        let length = usize::from(self.u16()?);
        if length > most {
            return Err(BodyError::TooLong { length, most });
        }
        let bytes = self.take(length)?;
        core::str::from_utf8(bytes).map(String::from).map_err(|_| BodyError::NotText)
    }

    /// A list of at most `most` elements.
    ///
    /// # Errors
    /// [`BodyError`] if it is longer, or an element cannot be read.
    pub fn list<T: Message>(&mut self, most: usize) -> Result<Vec<T>, BodyError> {
        let length = self.u32()? as usize;
        if length > most {
            return Err(BodyError::TooLong { length, most });
        }
        // The announced length is a claim: room is made for what is really there, element by element.
        let mut list = Vec::new();
        for _ in 0..length {
            list.push(T::decode(self)?);
        }
        Ok(list)
    }

    /// Makes sure that nothing is left.
    ///
    /// # Errors
    /// [`BodyError::Trailing`] if something is.
    pub fn end(&self) -> Result<(), BodyError> {
        if self.0.is_empty() { Ok(()) } else { Err(BodyError::Trailing { left: self.0.len() }) }
    }
}

/// Why a body is not the message it should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// It ends too early.
    #[error("the message ends too early")]
    Short,
    /// Bytes are left after its end.
    #[error("{left} bytes are left after the message's end")]
    Trailing {
        /// How many.
        left: usize,
    },
    /// A text or list is longer than its limit.
    #[error("a field has length {length}, and at most {most} is allowed")]
    TooLong {
        /// The length found.
        length: usize,
        /// The limit.
        most: usize,
    },
    /// A text is not UTF-8.
    #[error("a text is not UTF-8")]
    NotText,
    /// A field has a value that means nothing.
    #[error("the field `{field}` has a value that means nothing")]
    BadValue {
        /// Which field.
        field: &'static str,
    },
}
