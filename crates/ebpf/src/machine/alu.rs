//! What arithmetic instructions compute and when jumps are taken (RFC 9669, sections 4.1 to 4.3).

use crate::op::Kind;

/// The result of `kind` for its two operands, if it is arithmetic. 32-bit results leave the upper
/// half zero. Division by zero gives 0, and its remainder is the dividend.
#[inline(always)]
#[rustfmt::skip]
pub(super) fn arithmetic(kind: Kind, a: u64, b: u64) -> Option<u64> {
    let (wa, wb) = (a as u32, b as u32);
    let (sa, sb) = (a as i64, b as i64);
    let (swa, swb) = (a as i32, b as i32);
    Some(match kind {
        Kind::Add64 => a.wrapping_add(b),
        Kind::Sub64 => a.wrapping_sub(b),
        Kind::Mul64 => a.wrapping_mul(b),
        Kind::Div64 => a.checked_div(b).unwrap_or(0),
        Kind::Mod64 => a.checked_rem(b).unwrap_or(a),
        Kind::Sdiv64 => if b == 0 { 0 } else { sa.wrapping_div(sb) as u64 },
        Kind::Smod64 => if b == 0 { a } else { sa.wrapping_rem(sb) as u64 },
        Kind::Or64 => a | b,
        Kind::And64 => a & b,
        Kind::Xor64 => a ^ b,
        Kind::Lsh64 => a.wrapping_shl(wb),
        Kind::Rsh64 => a.wrapping_shr(wb),
        Kind::Arsh64 => sa.wrapping_shr(wb) as u64,
        Kind::Neg64 => a.wrapping_neg(),

        Kind::Add32 => wa.wrapping_add(wb).into(),
        Kind::Sub32 => wa.wrapping_sub(wb).into(),
        Kind::Mul32 => wa.wrapping_mul(wb).into(),
        Kind::Div32 => wa.checked_div(wb).unwrap_or(0).into(),
        Kind::Mod32 => wa.checked_rem(wb).unwrap_or(wa).into(),
        Kind::Sdiv32 => if wb == 0 { 0 } else { zero_extend(swa.wrapping_div(swb)) },
        Kind::Smod32 => if wb == 0 { wa.into() } else { zero_extend(swa.wrapping_rem(swb)) },
        Kind::Or32 => (wa | wb).into(),
        Kind::And32 => (wa & wb).into(),
        Kind::Xor32 => (wa ^ wb).into(),
        Kind::Lsh32 => wa.wrapping_shl(wb).into(),
        Kind::Rsh32 => wa.wrapping_shr(wb).into(),
        Kind::Arsh32 => zero_extend(swa.wrapping_shr(wb)),
        Kind::Neg32 => wa.wrapping_neg().into(),

        Kind::Swap16 => (a as u16).swap_bytes().into(),
        Kind::Swap32 => wa.swap_bytes().into(),
        Kind::Swap64 => a.swap_bytes(),

        Kind::Mov64 => b,
        Kind::MovSigned8To64 => i64::from(b as i8) as u64,
        Kind::MovSigned16To64 => i64::from(b as i16) as u64,
        Kind::MovSigned32To64 => i64::from(b as i32) as u64,
        Kind::Mov32 => wb.into(),
        Kind::MovSigned8To32 => zero_extend((b as i8).into()),
        Kind::MovSigned16To32 => zero_extend((b as i16).into()),
        _ => return None,
    })
}

fn zero_extend(value: i32) -> u64 {
    (value as u32).into()
}

/// Whether `kind` is a conditional jump that is taken for these operands.
#[inline(always)]
pub(super) fn taken(kind: Kind, a: u64, b: u64) -> bool {
    let (wa, wb) = (a as u32, b as u32);
    let (sa, sb) = (a as i64, b as i64);
    let (swa, swb) = (a as i32, b as i32);
    match kind {
        Kind::Jeq64 => a == b,
        Kind::Jne64 => a != b,
        Kind::Jgt64 => a > b,
        Kind::Jge64 => a >= b,
        Kind::Jlt64 => a < b,
        Kind::Jle64 => a <= b,
        Kind::Jset64 => a & b != 0,
        Kind::Jsgt64 => sa > sb,
        Kind::Jsge64 => sa >= sb,
        Kind::Jslt64 => sa < sb,
        Kind::Jsle64 => sa <= sb,
        Kind::Jeq32 => wa == wb,
        Kind::Jne32 => wa != wb,
        Kind::Jgt32 => wa > wb,
        Kind::Jge32 => wa >= wb,
        Kind::Jlt32 => wa < wb,
        Kind::Jle32 => wa <= wb,
        Kind::Jset32 => wa & wb != 0,
        Kind::Jsgt32 => swa > swb,
        Kind::Jsge32 => swa >= swb,
        Kind::Jslt32 => swa < swb,
        Kind::Jsle32 => swa <= swb,
        _ => false,
    }
}
