//! `guywire server ...`.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, bail};
use clap::{Args, Subcommand};
use guywire_control::client::{Client, ClientError};
use guywire_control::config::{NewServer, SERVER};
use guywire_control::invitation;
use guywire_control::store::{ServerStore, files};
use guywire_control::supervisor::{InviteAnswer, InviteRequest, WorkerCommand, run_server};
use guywire_net::route::Netlink;
use guywire_transport::enrol::HostPort;

use super::config::ConfigCommand;
use super::output::print;
use super::places::Places;
use super::{runtime, status};

#[derive(Debug, Subcommand)]
pub(super) enum ServerCommand {
    /// Run the server in the foreground, until SIGINT or SIGTERM.
    Run {
        #[command(flatten)]
        places: Places,
    },
    /// Make the server's key and a first configuration.
    Init(InitArgs),
    /// Print the line with which one router may join.
    Invite {
        /// The router's name: 1 to 32 letters, digits, `-`, `_` or `.`
        name: String,
        /// How long the line may be used, such as 30m, 24h, 7d
        #[arg(long, value_name = "TIME", default_value = "24h", value_parser = parse_lifetime)]
        expires: Duration,
        #[command(flatten)]
        places: Places,
    },
    /// Show the running server: routers, paths, flows.
    Status {
        #[command(flatten)]
        places: Places,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Check the configuration, or explain every setting.
    Config {
        #[command(flatten)]
        places: Places,
        #[command(flatten)]
        command: ConfigCommand,
    },
}

#[derive(Debug, Args)]
pub(super) struct InitArgs {
    /// How routers reach this server: address or name, and port [default: this machine's public addresses, port 443]
    #[arg(long, value_name = "HOST:PORT")]
    address: Vec<HostPort>,
    /// Where it listens [default: all addresses, on the port of the first --address]
    #[arg(long, value_name = "IP:PORT")]
    listen: Vec<SocketAddr>,
    /// A router that may send BPF schedulers of its own
    #[arg(long, value_name = "ROUTER", value_parser = parse_name)]
    objects_from: Vec<String>,
    /// Write the configuration anew although there is one; keys and routers are kept
    #[arg(long)]
    replace: bool,
    #[command(flatten)]
    places: Places,
}

impl ServerCommand {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        match self {
            Self::Run { places } => {
                let config = places.server()?;
                runtime()?.block_on(run_server(config, WorkerCommand::own()))?;
                Ok(ExitCode::SUCCESS)
            }
            Self::Init(args) => runtime()?.block_on(args.run()),
            Self::Invite {
                name,
                expires,
                places,
            } => runtime()?.block_on(invite(&name, expires, &places)),
            Self::Status { places, json } => {
                runtime()?.block_on(status::show(places.server_socket(), json))
            }
            Self::Config { places, command } => command.run(&SERVER, || {
                places.server()?;
                Ok(places.server_config().display().to_string())
            }),
        }
    }
}

impl InitArgs {
    async fn run(self) -> anyhow::Result<ExitCode> {
        let path = self.places.server_config();
        if path.exists() && !self.replace {
            bail!(
                "{} exists; edit it, or write it anew with --replace (keys and routers are kept)",
                path.display()
            );
        }
        let address = if self.address.is_empty() {
            public_addresses().await?
        } else {
            self.address
        };
        let listen = if self.listen.is_empty() {
            listen_for(&address)
        } else {
            self.listen
        };
        let absolute =
            |path: &PathBuf| std::path::absolute(path).context("the current directory is unknown");
        let state_dir = self.places.state.as_ref().map(absolute).transpose()?;
        let run_dir = self.places.run.as_ref().map(absolute).transpose()?;
        let state = state_dir
            .clone()
            .unwrap_or_else(|| guywire_control::STATE_DIR.into());
        let (store, new_key) = ServerStore::create(&state)?;
        let text = NewServer {
            address,
            listen,
            state_dir,
            run_dir,
            objects_from: self.objects_from,
        }
        .to_toml();
        write_config(&path, &text)?;
        let key = store.private_key()?.public_key();
        let kept = if new_key { "new" } else { "kept" };
        print(&format!(
            "wrote {path}\nserver key ({kept}): {key}\nnext: guywire server run, and guywire server invite NAME\n",
            path = path.display()
        ))?;
        Ok(ExitCode::SUCCESS)
    }
}

/// Writes a configuration of mode 0600, making its directory.
pub(super) fn write_config(path: &Path, text: &str) -> anyhow::Result<()> {
    if let Some(parent) = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty())
    {
        files::private_dir(parent)?;
    }
    Ok(files::write(path, text.as_bytes())?)
}

/// All addresses, on the port that the first public address names.
fn listen_for(address: &[HostPort]) -> Vec<SocketAddr> {
    match address.first().map(HostPort::port) {
        Some(port) if port != 443 => {
            vec![
                (std::net::Ipv4Addr::UNSPECIFIED, port).into(),
                (std::net::Ipv6Addr::UNSPECIFIED, port).into(),
            ]
        }
        _ => Vec::new(),
    }
}

async fn public_addresses() -> anyhow::Result<Vec<HostPort>> {
    let addresses = Netlink::new()?.addresses().await?;
    let public = addresses
        .iter()
        .filter(|address| !address.local_only && is_public(address.net.addr()));
    let found: Vec<HostPort> = public
        .take(8)
        .filter_map(|address| HostPort::new(&address.net.addr().to_string(), 443).ok())
        .collect();
    if found.is_empty() {
        bail!(
            "this machine has no public address of its own; name the one that routers reach with --address HOST:PORT"
        );
    }
    Ok(found)
}

fn is_public(ip: std::net::IpAddr) -> bool {
    match ip {
        std::net::IpAddr::V4(ip) => {
            let shared = ip.octets()[0] == 100 && ip.octets()[1] & 0xc0 == 64;
            !(ip.is_private()
                || ip.is_loopback()
                || ip.is_link_local()
                || ip.is_unspecified()
                || shared)
        }
        std::net::IpAddr::V6(ip) => ip.segments()[0] & 0xe000 == 0x2000,
    }
}

async fn invite(name: &str, expires: Duration, places: &Places) -> anyhow::Result<ExitCode> {
    let config = places.server()?;
    let request = InviteRequest {
        name: name.to_owned(),
        expires_secs: expires.as_secs(),
    };
    // A state directory from the command line may be that of another server than the one that runs here.
    let running = if places.state.is_some() && places.run.is_none() {
        None
    } else {
        match Client::new(places.server_socket())
            .post::<_, InviteAnswer>("/invitations", &request)
            .await
        {
            Ok(answer) => Some(answer),
            Err(ClientError::NotRunning { .. }) => None,
            Err(error) => return Err(error.into()),
        }
    };
    let answer = match running {
        Some(answer) => answer,
        None => {
            let store = ServerStore::open(&config.state_dir)?;
            invitation::invite(&store, config.address, name, expires, SystemTime::now())?
        }
    };
    print(&format!("{}\n", answer.line))?;
    eprintln!(
        "For one router, within {}. There: guywire router join LINE",
        describe(expires)
    );
    if answer.replaces {
        eprintln!(
            "A router named \"{name}\" exists: the one that joins with this line takes its place."
        );
    }
    Ok(ExitCode::SUCCESS)
}

fn parse_name(text: &str) -> Result<String, String> {
    match guywire_control::config::is_name(text) {
        true => Ok(text.to_owned()),
        false => Err("needed are 1 to 63 letters, digits, `-`, `_` or `.`".to_owned()),
    }
}

const UNITS: [(&str, u64); 4] = [("d", 86_400), ("h", 3600), ("m", 60), ("s", 1)];

fn parse_lifetime(text: &str) -> Result<Duration, String> {
    let wrong = || "needed is a number with s, m, h or d, such as 24h".to_owned();
    let (_, factor) = UNITS
        .iter()
        .find(|(unit, _)| text.ends_with(unit))
        .ok_or_else(wrong)?;
    let number: u64 = text[..text.len() - 1].parse().map_err(|_| wrong())?;
    number
        .checked_mul(*factor)
        .map(Duration::from_secs)
        .ok_or_else(wrong)
}

fn describe(time: Duration) -> String {
    let secs = time.as_secs();
    let whole = UNITS
        .iter()
        .find(|(_, factor)| secs.is_multiple_of(*factor));
    whole.map_or_else(
        || format!("{secs}s"),
        |(unit, factor)| format!("{}{unit}", secs / factor),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lifetimes_are_read_and_told() {
        for (text, secs) in [("90s", 90), ("30m", 1800), ("24h", 86_400), ("7d", 604_800)] {
            assert_eq!(parse_lifetime(text), Ok(Duration::from_secs(secs)));
        }
        for text in [
            "",
            "h",
            "24",
            "-1h",
            "1 h",
            "1.5h",
            "99999999999999999d",
            "é",
        ] {
            assert!(parse_lifetime(text).is_err(), "{text}");
        }
        assert_eq!(describe(Duration::from_secs(86_400)), "1d");
        assert_eq!(describe(Duration::from_secs(5400)), "90m");
    }

    #[test]
    fn public_addresses_are_told_from_others() {
        for ip in ["198.51.100.10", "203.0.113.1", "2001:db8:2::10"] {
            assert!(is_public(ip.parse().unwrap()), "{ip}");
        }
        for ip in [
            "10.0.0.1",
            "192.168.1.1",
            "100.64.0.1",
            "127.0.0.1",
            "169.254.1.1",
            "fe80::1",
            "fd00::1",
            "::1",
        ] {
            assert!(!is_public(ip.parse().unwrap()), "{ip}");
        }
    }
}
