//! The lab without root: everything in a user namespace.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use anyhow::{Context, Result, ensure};
use xtask::lab::programs::Scratch;
use xtask::lab::{Lab, THREE_LINKS};

use super::{binary, have, is_root, lab, turn};

#[test]
fn an_ordinary_user_bonds_links_too() -> Result<()> {
    if !is_root() {
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
    let own = scratch.path().join("guywire");
    fs::copy(binary(), &own).context("cannot copy the binary")?;
    // A stand-in for the binary that runs it as nobody, whose number is the same everywhere.
    let stand_in = scratch.path().join("as-nobody");
    let script = format!(
        "#!/bin/sh\nexec setpriv --reuid 65534 --regid 65534 --clear-groups \
         env -u XDG_RUNTIME_DIR HOME={} {} \"$@\"\n",
        scratch.path().display(),
        own.display(),
    );
    fs::write(&stand_in, script).context("cannot write the stand-in")?;
    for path in [scratch.path(), &own, &stand_in] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o777))
            .with_context(|| format!("cannot open {} to nobody", path.display()))?;
    }
    let _turn = turn();
    downloads(&Lab::up(stand_in, "nobody", THREE_LINKS)?)
}

fn downloads(lab: &Lab) -> Result<()> {
    let transfer = lab.fetch("http://internet/bytes/20000000").run()?;
    ensure!(
        transfer.ending == "complete",
        "{}: {:?}",
        transfer.ending,
        transfer.error
    );
    ensure!(transfer.identical == Some(true), "the bytes differ");
    Ok(())
}
