//! The truth of the model world: what lives, what is on its way, what data lies about.

use gipfel_backend::{DeploymentStatus, Failure, FailureReason, Handle, RunStatus};
use gipfel_model::{EndpointSpec, Provenance};

use crate::event::Effect;

/// How the world behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Manner {
    /// Things start and end at once, as processes do.
    Local,
    /// A Kubernetes-like server, which gets ready late and takes time to end, with a Slurm-like load generator,
    /// which queues.
    Cluster,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ServerState {
    Queued,
    Loading,
    Ready,
    /// Told to end, and still there.
    Leaving,
    Gone,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LoadState {
    Queued,
    Running,
    Completed,
    Stopped,
    Died,
}

#[derive(Clone, Debug)]
pub(super) struct Server {
    pub(super) name: String,
    pub(super) state: ServerState,
}

#[derive(Clone, Debug)]
pub(super) struct Load {
    pub(super) name: String,
    pub(super) generation: u8,
    pub(super) state: LoadState,
    pub(super) asked_to_stop: bool,
    /// It has written since the last fetch.
    pub(super) data: bool,
}

impl Server {
    pub(super) fn lives(&self) -> bool {
        self.state != ServerState::Gone
    }

    pub(super) fn handle(&self) -> Handle {
        handle(&self.name, 0)
    }

    pub(super) fn status(&self) -> DeploymentStatus {
        match self.state {
            ServerState::Queued => DeploymentStatus::Queued,
            ServerState::Loading | ServerState::Leaving => DeploymentStatus::Starting,
            ServerState::Ready => DeploymentStatus::Ready {
                endpoint: EndpointSpec::new("http://h"),
                provenance: Provenance::default(),
                load_time: None,
            },
            ServerState::Gone => DeploymentStatus::Ended(failure(FailureReason::ServerFailed)),
        }
    }
}

impl Load {
    pub(super) fn lives(&self) -> bool {
        matches!(self.state, LoadState::Queued | LoadState::Running)
    }

    pub(super) fn handle(&self) -> Handle {
        handle(&self.name, self.generation)
    }

    pub(super) fn status(&self) -> RunStatus {
        match self.state {
            LoadState::Queued => RunStatus::Queued,
            LoadState::Running => RunStatus::Running(None),
            LoadState::Completed => RunStatus::Completed(None),
            LoadState::Stopped => RunStatus::Stopped(None),
            LoadState::Died => RunStatus::Failed(failure(FailureReason::LoadFailed)),
        }
    }
}

fn handle(name: &str, generation: u8) -> Handle {
    Handle {
        system: "world".to_owned(),
        name: name.to_owned(),
        detail: generation.to_string(),
    }
}

pub(super) fn failure(reason: FailureReason) -> Failure {
    Failure {
        reason,
        message: String::new(),
        log_tail: String::new(),
    }
}

/// Everything outside the driver.
#[derive(Clone, Debug)]
pub(super) struct World {
    pub(super) manner: Manner,
    pub(super) servers: Vec<Server>,
    pub(super) loads: Vec<Load>,
    /// Effects that the driver waits for.
    pub(super) flights: Vec<Effect>,
    /// Submissions that nobody waits for and that may still take place, until a finder has settled their name.
    pub(super) strays: Vec<Effect>,
}

impl World {
    pub(super) fn new(manner: Manner) -> Self {
        Self {
            manner,
            servers: Vec::new(),
            loads: Vec::new(),
            flights: Vec::new(),
            strays: Vec::new(),
        }
    }

    pub(super) fn server(&self, name: &str) -> Option<&Server> {
        self.servers.iter().find(|server| server.name == name)
    }

    pub(super) fn load(&self, name: &str) -> Option<&Load> {
        self.loads.iter().find(|load| load.name == name)
    }

    /// The server that a handle means; none if another of that name has taken its place.
    pub(super) fn server_of(&mut self, handle: &Handle) -> Option<&mut Server> {
        self.servers.iter_mut().find(|server| server.handle() == *handle)
    }

    pub(super) fn load_of(&mut self, handle: &Handle) -> Option<&mut Load> {
        self.loads.iter_mut().find(|load| load.handle() == *handle)
    }

    /// A submission takes effect: idempotent by name.
    pub(super) fn submit(&mut self, effect: &Effect) -> Handle {
        let name = effect.object();
        if matches!(effect, Effect::SubmitDeployment(_)) {
            self.submit_server(name)
        } else {
            self.submit_load(name)
        }
    }

    fn submit_server(&mut self, name: &str) -> Handle {
        let state = if self.manner == Manner::Local {
            ServerState::Loading
        } else {
            ServerState::Queued
        };
        // A name has one server, so one that is gone stays gone.
        if let Some(server) = self.server(name) {
            return server.handle();
        }
        let server = Server {
            name: name.to_owned(),
            state,
        };
        let handle = server.handle();
        self.servers.push(server);
        self.servers.sort_by(|a, b| a.name.cmp(&b.name));
        handle
    }

    fn submit_load(&mut self, name: &str) -> Handle {
        let local = self.manner == Manner::Local;
        let state = if local {
            LoadState::Running
        } else {
            LoadState::Queued
        };
        if let Some(load) = self.loads.iter_mut().find(|load| load.name == name) {
            if !load.lives() {
                load.generation += 1;
                load.state = state;
                load.asked_to_stop = false;
                load.data |= local;
            }
            return load.handle();
        }
        let load = Load {
            name: name.to_owned(),
            generation: 0,
            state,
            asked_to_stop: false,
            data: local,
        };
        let handle = load.handle();
        self.loads.push(load);
        self.loads.sort_by(|a, b| a.name.cmp(&b.name));
        handle
    }

    /// An order to end a server takes effect; true if nothing of it lives.
    pub(super) fn end_server(&mut self, handle: &Handle) -> bool {
        let slow = self.manner == Manner::Cluster;
        let Some(server) = self.server_of(handle) else {
            return true;
        };
        if server.lives() {
            server.state = if slow {
                ServerState::Leaving
            } else {
                ServerState::Gone
            };
        }
        !server.lives()
    }

    pub(super) fn end_load(&mut self, handle: &Handle) {
        if let Some(load) = self.load_of(handle)
            && load.lives()
        {
            load.state = LoadState::Stopped;
        }
    }

    pub(super) fn fetch(&mut self, handle: &Handle) {
        if let Some(load) = self.load_of(handle) {
            load.data &= load.lives();
        }
    }

    /// What may happen by itself.
    pub(super) fn turns(&self) -> Vec<Turn> {
        let mut turns = Vec::new();
        for (place, server) in self.servers.iter().enumerate() {
            match server.state {
                ServerState::Queued | ServerState::Loading => {
                    turns.extend([Turn::ServerGetsOn(place), Turn::ServerDies(place)]);
                }
                ServerState::Ready => turns.push(Turn::ServerDies(place)),
                ServerState::Leaving => turns.push(Turn::ServerGetsOn(place)),
                ServerState::Gone => {}
            }
        }
        for (place, load) in self.loads.iter().enumerate() {
            if load.lives() {
                turns.extend([Turn::LoadGetsOn(place), Turn::LoadDies(place)]);
            }
        }
        turns
    }

    pub(super) fn turn(&mut self, turn: Turn) {
        match turn {
            Turn::ServerGetsOn(place) => {
                let server = &mut self.servers[place];
                server.state = match server.state {
                    ServerState::Queued => ServerState::Loading,
                    ServerState::Loading | ServerState::Ready => ServerState::Ready,
                    ServerState::Leaving | ServerState::Gone => ServerState::Gone,
                };
            }
            Turn::ServerDies(place) => self.servers[place].state = ServerState::Gone,
            Turn::LoadGetsOn(place) => {
                let load = &mut self.loads[place];
                load.data = true;
                load.state = match load.state {
                    _ if load.asked_to_stop => LoadState::Stopped,
                    LoadState::Queued => LoadState::Running,
                    _ => LoadState::Completed,
                };
            }
            Turn::LoadDies(place) => self.loads[place].state = LoadState::Died,
        }
    }
}

/// Something that happens by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    ServerGetsOn(usize),
    ServerDies(usize),
    LoadGetsOn(usize),
    LoadDies(usize),
}

impl Turn {
    /// No accident.
    pub(super) fn is_fair(self) -> bool {
        matches!(self, Self::ServerGetsOn(_) | Self::LoadGetsOn(_))
    }
}
