//! The way to the endpoints, settled once for all threads.

use std::{fs, sync::Arc, time::Duration};

use gipfel_engine::Framing;
use gipfel_model::{Access, EndpointSpec, Secret};
use gipfel_stream_client::{AnswerForm, Client, ClientError, ClientOptions, Clock, Target};
#[cfg(target_os = "linux")]
use gipfel_stream_client::{GapSink, Reactor};

/// Where the servers are, and what opens them.
#[derive(Clone)]
pub(crate) struct Reach {
    targets: Vec<Target>,
    proxy: Option<Target>,
    access: Arc<Access>,
    http2: bool,
    connect_timeout: Duration,
    form: AnswerForm,
}

impl Reach {
    /// Reads what opens the endpoint, at the one place that sends it.
    pub(crate) fn new(
        endpoint: &EndpointSpec,
        connect_timeout: Duration,
        framing: Framing,
    ) -> anyhow::Result<Self> {
        let targets = endpoint.urls().map(Target::parse).collect::<Result<_, _>>()?;
        let access = endpoint.access(|name| std::env::var(name).ok(), |path| fs::read(path))?;
        Ok(Self {
            targets,
            proxy: endpoint.proxy.as_deref().map(Target::parse).transpose()?,
            access: Arc::new(access),
            http2: endpoint.http2,
            connect_timeout,
            form: answer_form(framing),
        })
    }

    /// How many servers there are.
    pub(crate) fn len(&self) -> u32 {
        u32::try_from(self.targets.len()).unwrap_or(u32::MAX)
    }

    /// A client of each server, for one thread, which keeps so many idle connections.
    pub(crate) fn clients(&self, clock: Clock, max_idle: usize) -> Result<Vec<Client>, ClientError> {
        let client = |target: &Target| Client::new(clock, target.clone(), self.options(max_idle));
        self.targets.iter().map(client).collect()
    }

    /// A reactor that reaches all servers in their order, for one thread; none where only clients reach them.
    #[cfg(target_os = "linux")]
    pub(crate) fn reactor<G: GapSink>(
        &self,
        clock: Clock,
        max_idle: usize,
        max_connections: usize,
    ) -> anyhow::Result<Option<Reactor<G>>> {
        let options = self.options(max_idle);
        if !self
            .targets
            .iter()
            .all(|target| Reactor::<G>::reaches(target, &options))
        {
            return Ok(None);
        }
        let mut reactor = Reactor::new(clock, max_connections)?;
        for target in &self.targets {
            reactor.add_server(target.clone(), &options)?;
        }
        Ok(Some(reactor))
    }

    fn options(&self, max_idle: usize) -> ClientOptions {
        let text = |secret: &Secret| secret.expose().to_owned();
        let headers = self.access.headers.iter();
        ClientOptions {
            connect_timeout: self.connect_timeout,
            bearer: self.access.key.as_ref().map(text),
            max_idle,
            form: self.form,
            headers: headers.map(|(name, value)| (name.clone(), text(value))).collect(),
            authorities: self.access.authorities.clone(),
            proxy: self.proxy.clone(),
            http2: self.http2,
        }
    }
}

/// What the request path has to expect of this framing.
fn answer_form(framing: Framing) -> AnswerForm {
    match framing {
        Framing::Events => AnswerForm::Events,
        Framing::Lines => AnswerForm::Lines,
        Framing::Whole => AnswerForm::Whole,
    }
}
