//! Where a command finds configuration, state and run directory.

use std::path::PathBuf;

use clap::Args;
use guywire_control::config::{RouterConfig, ServerConfig};
use guywire_control::supervisor::{ROUTER_ROLE, SERVER_ROLE, socket_path};

/// The options that relocate a router or a server.
#[derive(Debug, Clone, Args)]
pub(super) struct Places {
    /// Configuration file [default: /etc/guywire/router.toml or server.toml]
    #[arg(long, value_name = "FILE")]
    pub(super) config: Option<PathBuf>,
    /// Directory of keys and what else must survive a reboot [default: as configured]
    #[arg(long, value_name = "DIR")]
    pub(super) state: Option<PathBuf>,
    /// Directory of the control socket and of process ids [default: as configured]
    #[arg(long, value_name = "DIR")]
    pub(super) run: Option<PathBuf>,
}

impl Places {
    /// The configuration file of a router.
    pub(super) fn router_config(&self) -> PathBuf {
        self.config
            .clone()
            .unwrap_or_else(|| "/etc/guywire/router.toml".into())
    }

    /// The configuration file of a server.
    pub(super) fn server_config(&self) -> PathBuf {
        self.config
            .clone()
            .unwrap_or_else(|| "/etc/guywire/server.toml".into())
    }

    /// A router's configuration, with the directories given on the command line.
    pub(super) fn router(&self) -> anyhow::Result<RouterConfig> {
        let mut config = RouterConfig::load(&self.router_config())?;
        config.state_dir = self.state.clone().unwrap_or(config.state_dir);
        config.run_dir = self.run.clone().unwrap_or(config.run_dir);
        Ok(config)
    }

    /// A server's configuration, with the directories given on the command line.
    pub(super) fn server(&self) -> anyhow::Result<ServerConfig> {
        let mut config = ServerConfig::load(&self.server_config())?;
        config.state_dir = self.state.clone().unwrap_or(config.state_dir);
        config.run_dir = self.run.clone().unwrap_or(config.run_dir);
        Ok(config)
    }

    /// The router's run directory. A missing or broken configuration does not matter: the default holds then.
    pub(super) fn router_run_dir(&self) -> PathBuf {
        let configured = || {
            RouterConfig::load(&self.router_config())
                .ok()
                .map(|config| config.run_dir)
        };
        self.run
            .clone()
            .or_else(configured)
            .unwrap_or_else(|| guywire_control::RUN_DIR.into())
    }

    fn server_run_dir(&self) -> PathBuf {
        let configured = || {
            ServerConfig::load(&self.server_config())
                .ok()
                .map(|config| config.run_dir)
        };
        self.run
            .clone()
            .or_else(configured)
            .unwrap_or_else(|| guywire_control::RUN_DIR.into())
    }

    /// The router's control socket.
    pub(super) fn router_socket(&self) -> PathBuf {
        socket_path(&self.router_run_dir(), ROUTER_ROLE)
    }

    /// The server's control socket.
    pub(super) fn server_socket(&self) -> PathBuf {
        socket_path(&self.server_run_dir(), SERVER_ROLE)
    }
}
