//! Both supervisors as they run: real sockets, rules and routes in a network namespace of their own, and a shell as
//! data worker.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use guywire_control::client::Client;
use guywire_control::config::{NewRouter, NewServer, RouterConfig, ServerConfig};
use guywire_control::store::ServerStore;
use guywire_control::supervisor::{
    State, Status, SupervisorError, WorkerCommand, run_router, run_server, socket_path,
};
use guywire_control::worker::{SecretText, ServerPeer};
use guywire_net::namespace::{new_netns, run_in_netns};
use guywire_net::nft;
use guywire_net::route::Netlink;
use guywire_transport::key::PrivateKey;

/// A worker that is ready at once and then writes down whatever it is told.
const OBEDIENT: &str = r#"read start; echo '"ready"' >&0
    while read line; do echo "$line" >> "$0"; [ "$line" = '"stop"' ] && exit 0; done"#;
/// A worker that dies at once.
const DOOMED: &str = "exit 1";

/// A directory of its own for each test, removed at its end.
struct Place(PathBuf);

impl Place {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("guywire-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn at(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    fn worker(&self, script: &str) -> WorkerCommand {
        let told = self.at("told").display().to_string();
        WorkerCommand::of("sh", &["-c", script, &told])
    }

    /// What the worker wrote down so far.
    fn told(&self) -> String {
        std::fs::read_to_string(self.at("told")).unwrap_or_default()
    }

    fn server(&self) -> ServerConfig {
        let new = NewServer {
            address: vec!["127.0.0.1:443".parse().unwrap()],
            listen: vec![
                "127.0.0.1:443".parse().unwrap(),
                "[::1]:443".parse().unwrap(),
            ],
            state_dir: Some(self.at("state")),
            run_dir: Some(self.at("run")),
            objects_from: Vec::new(),
        };
        ServerConfig::parse(Path::new("server.toml"), &new.to_toml()).unwrap()
    }

    fn router(&self, more: &str) -> RouterConfig {
        let key = PrivateKey::generate().unwrap().public_key().to_string();
        let new = NewRouter {
            name: "home".into(),
            server: ServerPeer {
                addresses: vec!["198.51.100.10:443".parse().unwrap()],
                public_key: key.clone(),
                tag_key: SecretText(key),
            },
            lan: vec!["lan0".into()],
            wan: vec!["wan1".into(), "wan2".into()],
            bypass: vec![],
            scheduler: None,
            state_dir: Some(self.at("state")),
            run_dir: Some(self.at("run")),
        };
        RouterConfig::parse(Path::new("router.toml"), &(new.to_toml() + more)).unwrap()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Runs a test in a network namespace of its own; says so and does nothing where that is not allowed.
fn isolated(test: impl AsyncFnOnce() + Send) {
    let netns = match new_netns() {
        Ok(netns) => netns,
        Err(error) => {
            eprintln!("skipped: no network namespace can be made ({error}); this needs root");
            return;
        }
    };
    run_in_netns(netns, || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            Netlink::new().unwrap().set_up("lo", true).await.unwrap();
            test().await;
        });
    })
    .unwrap();
}

/// Waits until the status is as wanted. The bound is generous: a busy machine is slow, a hanging test is worse.
async fn status_when(client: &Client, wanted: impl Fn(&Status) -> bool) -> Status {
    for _ in 0..600 {
        if let Ok(status) = client.get::<Status>("/status").await
            && wanted(&status)
        {
            return status;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!(
        "the status never became as wanted: {:?}",
        client.get::<Status>("/status").await
    );
}

async fn stop(client: &Client) {
    client.post::<_, ()>("/stop", &()).await.unwrap();
}

#[test]
fn a_server_redeems_what_its_worker_brings_and_tells_it_whom_to_let_in() {
    isolated(async || {
        let place = Place::new("supervisor-server");
        let config = place.server();
        let (store, _) = ServerStore::create(&config.state_dir).unwrap();
        let invitation = store
            .invite(
                "home".parse().unwrap(),
                Duration::from_secs(60),
                SystemTime::now(),
            )
            .unwrap();
        let key = PrivateKey::generate().unwrap().public_key();
        let redeem = format!(
            r#"{{"redeem":{{"request":7,"secret":"{}","public_key":"{key}","peer":"192.0.2.1:5"}}}}"#,
            invitation.secret
        );
        let script = OBEDIENT.replace(
            "\"ready\"' >&0",
            &format!("\"ready\"' >&0; echo '{redeem}' >&0"),
        );
        let client = Client::new(socket_path(&config.run_dir, "server"));
        let running = run_server(config.clone(), place.worker(&script));
        let story = async {
            let status = status_when(&client, |status| status.routers == ["home"]).await;
            assert_eq!(
                (status.state, status.generation, status.restarts),
                (State::Running, 1, 0)
            );
            assert_eq!(status.addresses.len(), 2);
            let second = run_server(config.clone(), place.worker(OBEDIENT)).await;
            assert!(
                matches!(second, Err(SupervisorError::Lock(_))),
                "{second:?}"
            );
            stop(&client).await;
        };
        let (result, ()) = tokio::join!(running, story);
        result.unwrap();
        let told = place.told();
        let routers = told.find(&format!(
            r#"{{"routers":[{{"name":"home","public_key":"{key}"}}]}}"#
        ));
        let answer = told.find(r#"{"redeemed":{"request":7,"result":{"Ok":{"name":"home","#);
        assert!(routers.is_some() && routers < answer, "it was told {told}");
        assert!(told.ends_with("\"stop\"\n"), "it was told {told}");
        assert!(
            std::fs::read_dir(place.at("run"))
                .unwrap()
                .all(|file| { file.unwrap().file_name() == "server.lock" })
        );
    });
}

#[test]
fn a_server_whose_workers_die_closes_its_door() {
    isolated(async || {
        let place = Place::new("supervisor-doomed");
        let config = place.server();
        ServerStore::create(&config.state_dir).unwrap();
        let client = Client::new(socket_path(&config.run_dir, "server"));
        let running = run_server(config, place.worker(DOOMED));
        let story = async {
            let status = status_when(&client, |status| status.state == State::CrashLoop).await;
            assert_eq!((status.restarts, status.addresses.len()), (5, 0));
            assert!(
                status
                    .incidents
                    .iter()
                    .any(|incident| incident.kind == "crash-loop")
            );
            stop(&client).await;
        };
        let (result, ()) = tokio::join!(running, story);
        result.unwrap();
    });
}

/// A LAN and two links, one of them with its other end.
async fn network(netlink: &Netlink) {
    for (device, peer, net) in [
        ("lan0", "lan0p", "192.168.77.1/24"),
        ("wan1", "wan1p", "198.51.100.1/24"),
        ("wan2", "wan2p", "10.0.2.2/24"),
    ] {
        netlink.add_veth(device, peer).await.unwrap();
        netlink.set_up(device, true).await.unwrap();
        netlink.set_up(peer, true).await.unwrap();
        netlink
            .add_address(device, net.parse().unwrap())
            .await
            .unwrap();
    }
}

#[test]
fn a_router_keeps_its_rules_while_workers_come_and_go_and_removes_them_at_the_end() {
    isolated(async || {
        let place = Place::new("supervisor-router");
        let config = place.router("");
        let netlink = Netlink::new().unwrap();
        network(&netlink).await;
        let client = Client::new(socket_path(&config.run_dir, "router"));
        let running = run_router(config, place.worker(OBEDIENT));
        let story = async {
            let status = status_when(&client, |status| status.state == State::Running).await;
            let links: Vec<_> = status
                .links
                .iter()
                .map(|link| (link.present, link.addresses.len()))
                .collect();
            // The server's address is on wan1's own network; wan2 has no route to it.
            assert_eq!(links, [(true, 1), (true, 0)]);

            netlink.set_up("wan1p", false).await.unwrap();
            status_when(&client, |status| !status.links[0].present).await;
            netlink.delete_link("wan2").await.unwrap();
            status_when(&client, |status| !status.links[1].present).await;
            netlink.set_up("wan1p", true).await.unwrap();
            let status = status_when(&client, |status| status.links[0].present).await;

            let worker = status.worker.unwrap().pid;
            let killed = std::process::Command::new("kill")
                .args(["-9", &worker.to_string()])
                .status();
            assert!(killed.unwrap().success());
            let status = status_when(&client, |status| {
                status.generation == 2 && status.state == State::Running
            })
            .await;
            assert_eq!(status.restarts, 1);
            let elsewhere = RouterConfig {
                run_dir: place.at("elsewhere"),
                ..place.router("")
            };
            let second = run_router(elsewhere, place.worker(OBEDIENT))
                .await
                .unwrap_err();
            assert!(
                second
                    .to_string()
                    .contains(&format!("process {}", std::process::id())),
                "{second}"
            );
            let rules = netlink.rules().await.unwrap();
            assert!(rules.iter().any(|rule| rule.mark.is_some()), "{rules:?}");
            stop(&client).await;
        };
        let (result, ()) = tokio::join!(running, story);
        result.unwrap();
        assert_eq!(nft::remove_tables().unwrap(), [] as [String; 0]);
        assert_eq!(netlink.remove_ours().await.unwrap(), [] as [String; 0]);
        assert!(
            place.told().contains(r#"{"links":[{"id":1,"name":"wan1""#),
            "{}",
            place.told()
        );
    });
}

#[test]
fn a_router_in_a_crash_loop_stops_capturing() {
    isolated(async || {
        let place = Place::new("supervisor-loop");
        let config = place.router("\n[capture]\nfail = \"closed\"\n");
        let netlink = Netlink::new().unwrap();
        network(&netlink).await;
        let client = Client::new(socket_path(&config.run_dir, "router"));
        let running = run_router(config, place.worker(DOOMED));
        let story = async {
            let status = status_when(&client, |status| status.state == State::CrashLoop).await;
            let told = status
                .incidents
                .iter()
                .any(|incident| incident.text.contains("cut off, as configured"));
            assert!(told, "{:?}", status.incidents);
            // Ours to take away: the supervisor does not need them any more.
            assert_eq!(nft::remove_tables().unwrap(), [nft::NAT_TABLE]);
            stop(&client).await;
        };
        let (result, ()) = tokio::join!(running, story);
        result.unwrap();
    });
}

#[test]
fn a_router_that_cannot_start_leaves_nothing() {
    isolated(async || {
        let place = Place::new("supervisor-port");
        let config = place.router("");
        let netlink = Netlink::new().unwrap();
        network(&netlink).await;
        let _taken = std::net::UdpSocket::bind("192.168.77.1:53").unwrap();
        let error = run_router(config, place.worker(OBEDIENT))
            .await
            .unwrap_err();
        assert!(error.to_string().contains("dns.enabled = false"), "{error}");
        assert_eq!(nft::remove_tables().unwrap(), [] as [String; 0]);
        assert_eq!(netlink.remove_ours().await.unwrap(), [] as [String; 0]);
    });
}
