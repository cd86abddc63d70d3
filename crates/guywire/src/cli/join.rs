//! `guywire router join`: from an invitation to a configuration.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::Args;
use guywire_control::config::{NewRouter, RouterConfig, schedulers};
use guywire_control::store::router_key;
use guywire_control::worker::{SecretText, ServerPeer};
use guywire_net::route::{Address, Device, Netlink};
use guywire_transport::dial::{DialOptions, dial};
use guywire_transport::enrol::{EnrolError, EnrolRequest, Enrolled, Invitation, enrol_client};
use guywire_transport::key::PrivateKey;
use ipnet::IpNet;

use super::output::print;
use super::places::Places;
use super::server::write_config;

/// How long a connection attempt may take, and the exchange after it.
const PATIENCE: Duration = Duration::from_secs(8);

#[derive(Debug, Args)]
pub(super) struct JoinArgs {
    /// The line that `guywire server invite` printed
    line: String,
    /// A device of the LAN; repeat it for several [default: those with a private address that are no WAN]
    #[arg(long, value_name = "DEV", value_delimiter = ',')]
    lan: Vec<String>,
    /// A device of a WAN; repeat it for several [default: those with a default route]
    #[arg(long, value_name = "DEV", value_delimiter = ',')]
    wan: Vec<String>,
    /// A destination that stays outside Guywire; repeat it for several
    #[arg(long, value_name = "NET", value_delimiter = ',', value_parser = parse_net)]
    bypass: Vec<IpNet>,
    /// The scheduler: default, redundant or roundrobin
    #[arg(long, value_name = "NAME", value_parser = parse_scheduler)]
    scheduler: Option<String>,
    /// Write the configuration anew although there is one
    #[arg(long)]
    replace: bool,
    #[command(flatten)]
    places: Places,
}

impl JoinArgs {
    pub(super) async fn run(self) -> anyhow::Result<ExitCode> {
        let invitation: Invitation = self.line.parse()?;
        let path = self.places.router_config();
        if path.exists() && !self.replace {
            bail!(
                "{} exists: this router has joined a server; write it anew with --replace",
                path.display()
            );
        }
        let (lan, wan) = self.devices().await?;
        let absolute =
            |path: &PathBuf| std::path::absolute(path).context("the current directory is unknown");
        let state_dir = self.places.state.as_ref().map(absolute).transpose()?;
        let run_dir = self.places.run.as_ref().map(absolute).transpose()?;
        let key = router_key(
            &state_dir
                .clone()
                .unwrap_or_else(|| guywire_control::STATE_DIR.into()),
        )?;
        let addresses = resolve(&invitation).await?;
        let enrolled = enrol(&invitation, &addresses, &key, &wan).await?;
        let new = NewRouter {
            name: enrolled.name.to_string(),
            server: ServerPeer {
                addresses,
                public_key: invitation.server_key.to_string(),
                tag_key: SecretText(enrolled.tag_key.to_string()),
            },
            lan,
            wan,
            bypass: self.bypass,
            scheduler: self.scheduler,
            state_dir,
            run_dir,
        };
        let text = new.to_toml();
        // The invitation is used up by now: whatever is wrong must not keep the file from being written.
        write_config(&path, &text)?;
        print(&format!(
            "joined as \"{name}\"; wrote {path}\nLAN: {lan}\nlinks: {wan}\nTo change them, edit lan.devices and [[link]] \
             there.\nnext: guywire router run\n",
            name = new.name,
            path = path.display(),
            lan = new.lan.join(", "),
            wan = new.wan.join(", "),
        ))?;
        RouterConfig::parse(&path, &text).context("what was written needs a correction")?;
        Ok(ExitCode::SUCCESS)
    }

    /// The devices of LAN and WAN: as given, and the rest as found.
    async fn devices(&self) -> anyhow::Result<(Vec<String>, Vec<String>)> {
        let netlink = Netlink::new()?;
        let devices = netlink.links().await?;
        for name in self.lan.iter().chain(&self.wan) {
            if !devices.iter().any(|device| device.name == *name) {
                let known: Vec<&str> = devices.iter().map(|device| device.name.as_str()).collect();
                bail!(
                    "there is no device \"{name}\"; there are {}",
                    known.join(", ")
                );
            }
        }
        let mut wan = self.wan.clone();
        if wan.is_empty() {
            for device in devices
                .iter()
                .filter(|device| !device.loopback && !self.lan.contains(&device.name))
            {
                let hops = netlink.default_hops(&device.name).await?;
                if hops.v4.is_some() || hops.v6.is_some() {
                    wan.push(device.name.clone());
                }
            }
        }
        if wan.is_empty() {
            bail!("no device has a default route; name the devices of the links with --wan DEV");
        }
        let mut lan = self.lan.clone();
        if lan.is_empty() {
            lan = lan_devices(&devices, &netlink.addresses().await?, &wan);
        }
        if lan.is_empty() {
            bail!(
                "no device but those of the links has a private address; name the LAN's with --lan DEV"
            );
        }
        Ok((lan, wan))
    }
}

/// Devices with a private address that are no WAN.
fn lan_devices(devices: &[Device], addresses: &[Address], wan: &[String]) -> Vec<String> {
    let private = |device: &Device| {
        addresses
            .iter()
            .any(|address| address.device == device.index && is_private(address.net.addr()))
    };
    let lan = devices
        .iter()
        .filter(|device| !device.loopback && !wan.contains(&device.name) && private(device));
    lan.map(|device| device.name.clone()).collect()
}

fn is_private(ip: std::net::IpAddr) -> bool {
    match ip {
        std::net::IpAddr::V4(ip) => ip.is_private(),
        std::net::IpAddr::V6(ip) => ip.is_unique_local(),
    }
}

async fn resolve(invitation: &Invitation) -> anyhow::Result<Vec<SocketAddr>> {
    let mut addresses = Vec::new();
    let mut failure = None;
    for address in &invitation.addresses {
        match tokio::net::lookup_host((address.host(), address.port())).await {
            Ok(found) => addresses.extend(found),
            Err(error) => {
                failure = Some(anyhow::anyhow!(
                    "cannot resolve {address}: {error}; check this router's DNS"
                ))
            }
        }
    }
    addresses.dedup();
    addresses.truncate(16);
    match failure {
        Some(error) if addresses.is_empty() => Err(error),
        _ => Ok(addresses),
    }
}

/// Tries the server's addresses, as the routes say and then over each link, until one works or refuses.
async fn enrol(
    invitation: &Invitation,
    addresses: &[SocketAddr],
    key: &PrivateKey,
    wan: &[String],
) -> anyhow::Result<Enrolled> {
    let request = EnrolRequest {
        secret: invitation.secret.clone(),
        name: Some(invitation.name.clone()),
    };
    let mut failures = Vec::new();
    let ways = std::iter::once(None).chain(wan.iter().cloned().map(Some));
    for device in ways {
        for address in addresses {
            let options = DialOptions {
                device: device.clone(),
                ..DialOptions::default()
            };
            let stream = match dial(*address, &options, PATIENCE).await {
                Ok(dialled) => dialled.stream,
                Err(error) => {
                    failures.push(error.to_string());
                    continue;
                }
            };
            match enrol_client(stream, key, invitation.server_key, &request, PATIENCE).await {
                Ok(enrolled) => return Ok(enrolled),
                Err(error @ EnrolError::Refused(_)) => return Err(error.into()),
                Err(error) => failures.push(format!("{address}: {error}")),
            }
        }
    }
    bail!(
        "cannot join:\n  {}\nIs the server running (`guywire server run`) and its port open?",
        failures.join("\n  ")
    )
}

fn parse_scheduler(text: &str) -> Result<String, String> {
    match schedulers().find(|&name| name == text) {
        Some(name) => Ok(name.to_owned()),
        None => Err(format!(
            "there are {}",
            schedulers().collect::<Vec<_>>().join(", ")
        )),
    }
}

fn parse_net(text: &str) -> Result<IpNet, String> {
    let net = text
        .parse()
        .or_else(|_| text.parse::<std::net::IpAddr>().map(IpNet::from));
    net.map_err(|_| "needed is an address or a network, such as 203.0.113.0/24".to_owned())
}
