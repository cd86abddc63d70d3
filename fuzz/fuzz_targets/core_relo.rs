//! CO-RE: any question, about any types, has an answer or an error, soon.
#![no_main]

use guywire_ebpf::Insn;
use guywire_ebpf::btf::{Btf, TypeId};
use guywire_ebpf::loader::core_relo::{Question, Relocation, patch, resolve};
use guywire_ebpf::model;
use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;

#[derive(Debug, Arbitrary)]
struct Input<'a> {
    root: u16,
    access: Vec<u8>,
    question: u8,
    code: u8,
    off: i16,
    /// Ask about the model by itself: its types are whole, so that ways lead somewhere.
    ask_model: bool,
    btf: &'a [u8],
}

fuzz_target!(|input: Input<'_>| {
    let model = model::btf();
    let parsed = Btf::parse(input.btf);
    let local = match &parsed {
        _ if input.ask_model => model,
        Ok(btf) => btf,
        Err(_) => return,
    };
    let Some(question) = Question::from_number(u32::from(input.question % 13)) else {
        return;
    };
    let access: Vec<String> = input.access.iter().map(u8::to_string).collect();
    let relocation = Relocation {
        root: TypeId(u32::from(input.root)),
        access: &access.join(":"),
        question,
    };
    let Ok(answer) = resolve(local, model, &relocation) else {
        return;
    };
    let insn = Insn {
        code: input.code,
        off: input.off,
        ..Insn::default()
    };
    let _ = patch(&mut [insn, Insn::default()], &answer);
});
