//! Instructions as text, in the form that `llvm-objdump` and the kernel's verifier print.

use crate::Insn;
use crate::object::POISON;
use crate::opcode::*;

/// The instruction `code[at]` as text. What is no instruction is shown as its bytes.
///
/// # Panics
/// Where `at` is not within `code`.
pub fn disassemble(code: &[Insn], at: usize) -> String {
    let insn = &code[at];
    let text = match insn.code & CLASS {
        ALU | ALU64 => arithmetic(insn),
        JMP | JMP32 => jump(insn),
        LDX => load(insn),
        ST | STX => store(insn),
        _ => wide(insn, code.get(at + 1)),
    };
    text.unwrap_or_else(|| {
        format!(
            ".insn {:#04x}, r{}, r{}, {}, {}",
            insn.code, insn.dst, insn.src, insn.off, insn.imm
        )
    })
}

/// The name of a register in an operation of this width.
fn register(number: u8, narrow: bool) -> String {
    format!("{}{number}", if narrow { 'w' } else { 'r' })
}

/// The second operand.
fn operand(insn: &Insn, narrow: bool) -> String {
    if insn.code & X != 0 {
        register(insn.src, narrow)
    } else {
        insn.imm.to_string()
    }
}

fn arithmetic(insn: &Insn) -> Option<String> {
    let narrow = insn.code & CLASS == ALU;
    let dst = register(insn.dst, narrow);
    let src = operand(insn, narrow);
    let operator = match (insn.code & OPERATION, insn.off) {
        (ADD, 0) => "+=",
        (SUB, 0) => "-=",
        (MUL, 0) => "*=",
        (DIV, 0) => "/=",
        (DIV, 1) => "s/=",
        (MOD, 0) => "%=",
        (MOD, 1) => "s%=",
        (OR, 0) => "|=",
        (AND, 0) => "&=",
        (XOR, 0) => "^=",
        (LSH, 0) => "<<=",
        (RSH, 0) => ">>=",
        (ARSH, 0) => "s>>=",
        (MOV, 0) => "=",
        (MOV, bits @ (8 | 16 | 32)) => return Some(format!("{dst} = (s{bits}){src}")),
        (NEG, 0) => return Some(format!("{dst} = -{dst}")),
        (END, 0) => {
            let swap = match insn.code & (CLASS | X) {
                ALU => "le",
                ALU64 => "bswap",
                _ => "be",
            };
            let dst = register(insn.dst, false);
            return Some(format!("{dst} = {swap}{} {dst}", insn.imm));
        }
        _ => return None,
    };
    Some(format!("{dst} {operator} {src}"))
}

fn jump(insn: &Insn) -> Option<String> {
    let narrow = insn.code & CLASS == JMP32;
    let operator = match insn.code & OPERATION {
        JEQ => "==",
        JNE => "!=",
        JGT => ">",
        JGE => ">=",
        JLT => "<",
        JLE => "<=",
        JSET => "&",
        JSGT => "s>",
        JSGE => "s>=",
        JSLT => "s<",
        JSLE => "s<=",
        JA if narrow => return Some(format!("gotol {:+}", insn.imm)),
        JA => return Some(format!("goto {:+}", insn.off)),
        JCOND => return Some(format!("may_goto {:+}", insn.off)),
        EXIT => return Some("exit".to_owned()),
        CALL if insn.code & X != 0 => return Some(format!("callx r{}", insn.dst)),
        CALL => return Some(call(insn)),
        _ => return None,
    };
    let dst = register(insn.dst, narrow);
    let src = operand(insn, narrow);
    Some(format!("if {dst} {operator} {src} goto {:+}", insn.off))
}

fn call(insn: &Insn) -> String {
    match insn.src {
        0 if insn.imm >= POISON => format!("unresolved #{}", insn.imm - POISON),
        0 => match crate::helpers::by_number(insn.imm) {
            Some(helper) => format!("call {}#{}", helper.name, insn.imm),
            None => format!("call {}", insn.imm),
        },
        1 => format!("call pc{:+}", insn.imm),
        _ => format!("call kfunc#{}", insn.imm),
    }
}

/// The type of an access of this width.
fn width(code: u8) -> &'static str {
    match code & SIZE {
        B => "8",
        H => "16",
        W => "32",
        _ => "64",
    }
}

fn load(insn: &Insn) -> Option<String> {
    let sign = match insn.code & MODE {
        MEM => 'u',
        MEMSX => 's',
        _ => return None,
    };
    let Insn { dst, src, off, .. } = insn;
    let width = width(insn.code);
    Some(format!("r{dst} = *({sign}{width} *)(r{src} {off:+})"))
}

fn store(insn: &Insn) -> Option<String> {
    let Insn {
        dst, src, off, imm, ..
    } = insn;
    let place = format!("*(u{} *)(r{dst} {off:+})", width(insn.code));
    match (insn.code & CLASS, insn.code & MODE) {
        (ST, MEM) => Some(format!("{place} = {imm}")),
        (STX, MEM) => Some(format!("{place} = r{src}")),
        (STX, ATOMIC) => atomic(&place, *src, *imm),
        _ => None,
    }
}

fn atomic(place: &str, src: u8, imm: i32) -> Option<String> {
    let operator = match (imm & !FETCH) as u8 {
        _ if imm == XCHG => return Some(format!("r{src} = xchg({place}, r{src})")),
        _ if imm == CMPXCHG => return Some(format!("r0 = cmpxchg({place}, r0, r{src})")),
        ADD => "+=",
        OR => "|=",
        AND => "&=",
        XOR => "^=",
        _ => return None,
    };
    Some(if imm & FETCH == 0 {
        format!("lock {place} {operator} r{src}")
    } else {
        format!("r{src} = fetch({place} {operator} r{src})")
    })
}

fn wide(insn: &Insn, second: Option<&Insn>) -> Option<String> {
    if insn.code != LDDW {
        return None;
    }
    let upper = second?.imm;
    let dst = insn.dst;
    Some(match insn.src {
        0 => {
            let value = u64::from(insn.imm as u32) | u64::from(upper as u32) << 32;
            format!("r{dst} = {value:#x} ll")
        }
        1 => format!("r{dst} = map#{}", insn.imm),
        2 => format!("r{dst} = map#{}[0]{upper:+}", insn.imm),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn shows(bytes: [u8; 8], text: &str) {
        assert_eq!(disassemble(&[Insn::from_le_bytes(bytes)], 0), text);
    }

    #[test]
    fn reads_like_llvm() {
        shows([0x0f, 0x21, 0, 0, 0, 0, 0, 0], "r1 += r2");
        shows([0x04, 0x01, 0, 0, 0xff, 0xff, 0xff, 0xff], "w1 += -1");
        shows([0x3c, 0x21, 1, 0, 0, 0, 0, 0], "w1 s/= w2");
        shows([0xbf, 0x21, 8, 0, 0, 0, 0, 0], "r1 = (s8)r2");
        shows([0x87, 0x03, 0, 0, 0, 0, 0, 0], "r3 = -r3");
        shows([0xdc, 0x03, 0, 0, 16, 0, 0, 0], "r3 = be16 r3");
        shows([0xd7, 0x03, 0, 0, 32, 0, 0, 0], "r3 = bswap32 r3");
        shows([0x79, 0x61, 8, 0, 0, 0, 0, 0], "r1 = *(u64 *)(r6 +8)");
        shows([0x91, 0x61, 0xf8, 0xff, 0, 0, 0, 0], "r1 = *(s8 *)(r6 -8)");
        shows([0x62, 0x0a, 0xfc, 0xff, 7, 0, 0, 0], "*(u32 *)(r10 -4) = 7");
        shows(
            [0x7b, 0x1a, 0xf8, 0xff, 0, 0, 0, 0],
            "*(u64 *)(r10 -8) = r1",
        );
        shows(
            [0xdb, 0x1a, 0, 0, 0, 0, 0, 0],
            "lock *(u64 *)(r10 +0) += r1",
        );
        shows(
            [0xc3, 0x1a, 0, 0, 0xa1, 0, 0, 0],
            "r1 = fetch(*(u32 *)(r10 +0) ^= r1)",
        );
        shows(
            [0xdb, 0x1a, 0, 0, 0xf1, 0, 0, 0],
            "r0 = cmpxchg(*(u64 *)(r10 +0), r0, r1)",
        );
        shows([0x16, 0x01, 5, 0, 9, 0, 0, 0], "if w1 == 9 goto +5");
        shows([0xcd, 0x21, 0xfe, 0xff, 0, 0, 0, 0], "if r1 s< r2 goto -2");
        shows([0x05, 0, 3, 0, 0, 0, 0, 0], "goto +3");
        shows([0x06, 0, 0, 0, 3, 0, 0, 0], "gotol +3");
        shows([0xe5, 0, 3, 0, 0, 0, 0, 0], "may_goto +3");
        shows([0x85, 0, 0, 0, 1, 0, 0, 0], "call map_lookup_elem#1");
        shows([0x85, 0x10, 0, 0, 4, 0, 0, 0], "call pc+4");
        shows([0x95, 0, 0, 0, 0, 0, 0, 0], "exit");
        shows([0xff, 0x21, 3, 0, 4, 0, 0, 0], ".insn 0xff, r1, r2, 3, 4");
    }

    #[test]
    fn a_wide_immediate_is_shown_whole() {
        let wide = [
            Insn {
                code: LDDW,
                dst: 1,
                imm: -1,
                ..Insn::default()
            },
            Insn {
                imm: 0x12,
                ..Insn::default()
            },
        ];
        assert_eq!(disassemble(&wide, 0), "r1 = 0x12ffffffff ll");
        assert_eq!(disassemble(&wide[..1], 0), ".insn 0x18, r1, r0, 0, -1");
    }
}
