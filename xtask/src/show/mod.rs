//! `cargo xtask show`
#[derive(clap::Args)]
pub(crate) struct Arguments {}
pub(crate) fn run(_: &Arguments) -> anyhow::Result<bool> {
    Ok(true)
}
