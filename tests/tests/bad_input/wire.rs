//! Protobuf by hand: fields no generated type can hold.

/// Fields, written one after another.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wire(Vec<u8>);

impl Wire {
    /// No field yet.
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// A number.
    pub(crate) fn number(mut self, field: u64, value: u64) -> Self {
        varint(&mut self.0, field << 3);
        varint(&mut self.0, value);
        self
    }

    /// Bytes, a text or a message.
    pub(crate) fn bytes(mut self, field: u64, bytes: &[u8]) -> Self {
        varint(&mut self.0, field << 3 | 2);
        varint(&mut self.0, u64::try_from(bytes.len()).expect("a length fits"));
        self.0.extend_from_slice(bytes);
        self
    }

    /// Any bytes at all.
    pub(crate) fn raw(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }

    /// What was written.
    pub(crate) fn done(self) -> Vec<u8> {
        self.0
    }
}

/// A number in base 128, low group first.
fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(u8::try_from(value & 0x7F).expect("seven bits") | 0x80);
        value >>= 7;
    }
    out.push(u8::try_from(value).expect("seven bits"));
}
