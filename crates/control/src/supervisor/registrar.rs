//! Redeems invitations, one after the other, away from the supervisor's loop: each costs a few disk writes.

use std::time::SystemTime;

use tokio::sync::mpsc;

use crate::store::ServerStore;
use crate::worker::{AuthorisedRouter, SecretText, ToWorker};

/// Requests that may wait. The worker limits them before they come here.
const QUEUE: usize = 64;

/// Somebody presents an invitation.
#[derive(Debug)]
pub(super) struct Application {
    /// The worker that asks: another one must not get the answer.
    pub(super) generation: u32,
    pub(super) request: u64,
    pub(super) secret: SecretText,
    pub(super) public_key: String,
    pub(super) peer: String,
}

/// What became of it.
#[derive(Debug)]
pub(super) struct Decision {
    pub(super) generation: u32,
    /// For the worker.
    pub(super) answer: ToWorker,
    /// The routers that may connect from now on, if that changed.
    pub(super) routers: Option<Vec<AuthorisedRouter>>,
}

/// The task that redeems, seen from the supervisor's loop.
pub(super) struct Registrar {
    applications: mpsc::Sender<Application>,
    decisions: mpsc::Receiver<Decision>,
}

impl Registrar {
    pub(super) fn new(store: ServerStore) -> Self {
        let (applications, mut queue) = mpsc::channel::<Application>(QUEUE);
        let (decided, decisions) = mpsc::channel(QUEUE);
        tokio::spawn(async move {
            while let Some(application) = queue.recv().await {
                let store = store.clone();
                match tokio::task::spawn_blocking(move || decide(&store, &application)).await {
                    Ok(decision) => {
                        if decided.send(decision).await.is_err() {
                            return;
                        }
                    }
                    Err(error) => tracing::error!("redeeming an invitation failed: {error}"),
                }
            }
        });
        Self {
            applications,
            decisions,
        }
    }

    /// Takes an application; when too many wait, the answer comes back at once.
    pub(super) fn submit(&self, application: Application) -> Option<ToWorker> {
        let refused = self.applications.try_send(application).err()?;
        let request = refused.into_inner().request;
        Some(refusal(request, guywire_transport::enrol::Refusal::Busy))
    }

    /// The next decision. Cancel-safe.
    pub(super) async fn next(&mut self) -> Decision {
        match self.decisions.recv().await {
            Some(decision) => decision,
            // The task ends only with the runtime.
            None => std::future::pending().await,
        }
    }
}

fn refusal(request: u64, refusal: guywire_transport::enrol::Refusal) -> ToWorker {
    ToWorker::Redeemed {
        request,
        result: Err(refusal.as_str().to_owned()),
    }
}

fn decide(store: &ServerStore, application: &Application) -> Decision {
    let Application {
        generation,
        request,
        peer,
        ..
    } = application;
    let redeemed = store.redeem(
        &application.secret,
        &application.public_key,
        SystemTime::now(),
    );
    match redeemed {
        Ok(enrolled) => {
            tracing::info!(%peer, name = enrolled.name, key = application.public_key, "router joined");
            let routers = store
                .routers()
                .inspect_err(|error| tracing::error!("{error}"))
                .ok();
            let answer = ToWorker::Redeemed {
                request: *request,
                result: Ok(enrolled),
            };
            Decision {
                generation: *generation,
                answer,
                routers,
            }
        }
        Err(error) => {
            tracing::warn!(%peer, "an invitation was refused: {error}");
            Decision {
                generation: *generation,
                answer: refusal(*request, error.refusal()),
                routers: None,
            }
        }
    }
}
