//! One instruction of the eBPF instruction set (RFC 9669, section 3).

/// One 8-byte instruction; a 64-bit immediate takes two, as in the object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Insn {
    /// Operation: class in the low three bits.
    pub code: u8,
    /// Destination register, 0 to 10 (a 4-bit field: 11 to 15 can be decoded and are refused later).
    pub dst: u8,
    /// Source register, or the kind of a pseudo reference.
    pub src: u8,
    /// Offset: of a jump in instructions, of an access in bytes.
    pub off: i16,
    /// Immediate.
    pub imm: i32,
}

impl Insn {
    /// Decodes the little-endian form that objects hold.
    pub fn from_le_bytes(bytes: [u8; 8]) -> Self {
        let [code, registers, off0, off1, imm0, imm1, imm2, imm3] = bytes;
        Self {
            code,
            dst: registers & 0x0f,
            src: registers >> 4,
            off: i16::from_le_bytes([off0, off1]),
            imm: i32::from_le_bytes([imm0, imm1, imm2, imm3]),
        }
    }

    /// The same form again.
    pub fn to_le_bytes(self) -> [u8; 8] {
        let [off0, off1] = self.off.to_le_bytes();
        let [imm0, imm1, imm2, imm3] = self.imm.to_le_bytes();
        let registers = self.dst & 0x0f | self.src << 4;
        [self.code, registers, off0, off1, imm0, imm1, imm2, imm3]
    }
}
