//! What a user would take instead: the kernel's MPTCP, from the lab's router, which has every
//! link's address, to the internet host. Past Guywire, over the same links.

use anyhow::{Context, Result};
use xtask::lab::Lab;

/// Makes every link of the router an MPTCP endpoint.
///
/// # Errors
/// Where the kernel has no MPTCP or there is no `ip`: no comparison is then made.
pub(super) fn prepare(lab: &Lab, links: usize) -> Result<()> {
    let limits = "ip mptcp limits set subflows 8 add_addr_accepted 8";
    lab.shell("internet", limits)
        .context("kernel MPTCP cannot be set up")?;
    lab.shell("router", limits)?;
    for link in 1..=links {
        let endpoint = format!("ip mptcp endpoint add 10.0.{link}.2 dev wan{link} subflow");
        lab.shell("router", &endpoint)?;
    }
    Ok(())
}
