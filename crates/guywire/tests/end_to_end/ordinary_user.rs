//! The lab without root: everything in a user namespace.

use anyhow::Result;
use xtask::lab::programs::Scratch;
use xtask::lab::{Lab, THREE_LINKS};

use super::{binary, have, lab, turn, whole};

#[test]
fn an_ordinary_user_bonds_links_too() -> Result<()> {
    if !xtask::is_root() {
        // Then every test here is run as one.
        let Some(turn) = lab("ordinary", THREE_LINKS)? else {
            return Ok(());
        };
        return downloads(&turn.lab);
    }
    if !have(&["setpriv"]) {
        return Ok(());
    }
    let scratch = Scratch::new("nobody")?;
    let stand_in = scratch.as_nobody(&binary())?;
    let _turn = turn();
    downloads(&Lab::up(stand_in, "nobody", THREE_LINKS)?)
}

fn downloads(lab: &Lab) -> Result<()> {
    let transfer = lab.fetch("http://internet/bytes/20000000").run()?;
    whole(&transfer)?;
    Ok(())
}
