//! HTTP probes and hooks: the request that kubelet makes, and the redirects that it follows.

use std::net::SocketAddr;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use http::header::{
    ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, CONNECTION, CONTENT_LENGTH, HOST, HeaderMap, HeaderName,
    HeaderValue, LOCATION, RANGE, REFERER, TE, TRAILER, TRANSFER_ENCODING, UPGRADE, USER_AGENT,
};
use smilax_core::probe::Scheme;

use super::exchange::{self, Reply};
use super::url::Url;
use super::{Failure, Prober, Redirect, tls};

/// Redirects that kubelet follows.
const MOST_REDIRECTS: usize = 10;
/// kubelet's `maxProbeRetries`: how often it asks while bodies break off.
const MOST_TRIES: usize = 3;

/// Which of kubelet's two HTTP clients is imitated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Client {
    /// `pkg/probe/http`: each request on a connection of its own, HTTP/2 where TLS offers it.
    Probe,
    /// `insecureContainerLifecycleHTTPClient`: HTTP/1.1 only, compression, and any answer is a success.
    Hook,
}

/// One GET with everything that follows from it.
pub(super) struct HttpGet<'a> {
    prober: &'a Prober,
    client: Client,
    headers: HeaderMap,
    /// `Host` that the probe names.
    host: Option<Vec<u8>>,
}

impl<'a> HttpGet<'a> {
    /// `agent` is the `User-Agent` of kubelet, which says its version.
    pub(super) fn new(
        prober: &'a Prober,
        client: Client,
        named: &[(String, String)],
        agent: Option<&HeaderValue>,
    ) -> Result<Self, Failure> {
        let mut headers = HeaderMap::new();
        for (name, value) in named {
            let unusable = |error: &dyn std::fmt::Display| {
                Failure::Broken(format!("header {name:?} of the probe cannot be sent: {error}"))
            };
            let parsed = HeaderName::from_bytes(name.as_bytes()).map_err(|error| unusable(&error))?;
            let value = HeaderValue::from_bytes(value.trim_matches([' ', '\t']).as_bytes())
                .map_err(|error| unusable(&error))?;
            headers.append(parsed, value);
        }
        let host = headers.remove(HOST);
        // Go writes these itself, or not at all.
        for ours in [CONTENT_LENGTH, TRANSFER_ENCODING, TRAILER] {
            headers.remove(ours);
        }
        // Of several, only the first counts; an empty one says that none is to be sent.
        match (headers.get(USER_AGENT).cloned(), agent) {
            (Some(own), _) if own.is_empty() => drop(headers.remove(USER_AGENT)),
            (Some(own), _) => drop(headers.insert(USER_AGENT, own)),
            (None, Some(agent)) => drop(headers.insert(USER_AGENT, agent.clone())),
            (None, None) => {}
        }
        match headers.get(ACCEPT) {
            Some(own) if own.is_empty() => drop(headers.remove(ACCEPT)),
            Some(_) => {}
            None => drop(headers.insert(ACCEPT, HeaderValue::from_static("*/*"))),
        }
        match client {
            Client::Probe if headers.contains_key(UPGRADE) => {}
            Client::Probe => drop(headers.insert(CONNECTION, HeaderValue::from_static("close"))),
            Client::Hook if headers.contains_key(ACCEPT_ENCODING) || headers.contains_key(RANGE) => {}
            Client::Hook => drop(headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("gzip"))),
        }
        Ok(Self {
            prober,
            client,
            headers,
            host: host
                .map(|host| host.as_bytes().to_vec())
                .filter(|host| !host.is_empty()),
        })
    }

    /// Asks, and judges as kubelet does. A redirect is returned when it is the last answer, which is a success with a warning.
    pub(super) async fn ask(
        mut self,
        scheme: Scheme,
        port: u16,
        path: &str,
    ) -> Result<Option<Redirect>, Failure> {
        let address = SocketAddr::new(self.prober.address, port);
        let scheme = match scheme {
            Scheme::Http => "http",
            Scheme::Https => "https",
        };
        let url = Url::of_probe(scheme, address, path);
        if self.client == Client::Probe {
            return self.probe(&url).await;
        }
        match self.follow(&url).await {
            // Hooks used to be sent over HTTP whatever their scheme said (runHTTPHandler).
            Err(Failure::NotTls) => {
                self.headers.remove(AUTHORIZATION);
                self.follow(&Url::of_probe("http", address, path)).await
            }
            other => other,
        }
        .map(|_| None)
    }

    async fn probe(&self, url: &Url) -> Result<Option<Redirect>, Failure> {
        let mut tries = 0;
        let (status, location, body) = loop {
            tries += 1;
            let reply = self.follow(url).await?;
            let status = reply.status();
            let location = reply.headers().get(LOCATION).cloned();
            match reply.body().await {
                Err(Failure::Body(_)) if tries < MOST_TRIES => {}
                body => break (status, location, body?),
            }
        };
        match status.as_u16() {
            200..=299 => Ok(None),
            300..=399 => Ok(Some(Redirect {
                status,
                location,
                body,
            })),
            _ => Err(Failure::Status(status)),
        }
    }

    /// `http.Client.Do` with kubelet's `RedirectChecker`.
    async fn follow(&self, first: &Url) -> Result<Reply, Failure> {
        let mut url = first.clone();
        let mut host = self.host.clone();
        let mut referer = None;
        let mut followed = 0;
        loop {
            let reply = self.once(&url, host.as_deref(), referer.as_ref()).await?;
            let location = reply
                .headers()
                .get(LOCATION)
                .filter(|location| !location.is_empty());
            let Some(location) =
                location.filter(|_| matches!(reply.status().as_u16(), 301..=303 | 307 | 308))
            else {
                return Ok(reply);
            };
            let next = url.join(location.as_bytes()).map_err(|error| {
                Failure::Redirect(format!(
                    "its redirect to {location:?} cannot be followed: {error}"
                ))
            })?;
            if next.hostname() != first.hostname() {
                return Ok(reply);
            }
            followed += 1;
            if followed >= MOST_REDIRECTS {
                return Err(Failure::Redirect(format!(
                    "stopped after {MOST_REDIRECTS} redirects"
                )));
            }
            let is_relative =
                Url::parse(location.as_bytes()).is_ok_and(|location| location.scheme.is_empty());
            host = host.filter(|_| is_relative);
            let is_downgrade = url.scheme == "https" && next.scheme == "http";
            referer = match self.headers.get(REFERER) {
                _ if is_downgrade => None,
                Some(own) if !own.is_empty() => Some(own.clone()),
                _ => HeaderValue::from_bytes(&url.referer()).ok(),
            };
            url = next;
        }
    }

    /// One request on a connection of its own.
    async fn once(
        &self,
        url: &Url,
        host: Option<&[u8]>,
        referer: Option<&HeaderValue>,
    ) -> Result<Reply, Failure> {
        let nowhere = || Failure::Redirect(format!("{url} leads to no server"));
        if !url.is_hierarchical() {
            return Err(nowhere());
        }
        let port = url.port().ok_or_else(nowhere)?;
        let host = Some(host.unwrap_or_else(|| url.host()));
        // Go sends an empty Host for one that cannot be sent.
        let host = host.filter(|host| is_host(host)).unwrap_or_default();
        let mut headers = self.headers.clone();
        if let Some(referer) = referer {
            headers.insert(REFERER, referer.clone());
        }
        if let Some(user) = url.user().filter(|_| !headers.contains_key(AUTHORIZATION)) {
            let basic = format!("Basic {}", BASE64_STANDARD.encode(user));
            headers.extend(
                HeaderValue::try_from(basic)
                    .ok()
                    .map(|basic| (AUTHORIZATION, basic)),
            );
        }
        let stream = self.prober.connect(port).await?;
        if url.scheme == "http" {
            return exchange::http1(Box::new(stream), &url.request_target(), host, headers).await;
        }
        let stream = tls::unverified(stream, self.prober.address, self.client).await?;
        match stream.get_ref().1.alpn_protocol() {
            Some(tls::HTTP2) => {
                headers.remove(TE);
                exchange::http2(Box::new(stream), &url.request_target(), host, headers).await
            }
            _ => exchange::http1(Box::new(stream), &url.request_target(), host, headers).await,
        }
    }
}

/// `httpguts.ValidHostHeader`.
fn is_host(host: &[u8]) -> bool {
    host.iter()
        .all(|&byte| byte.is_ascii_alphanumeric() || b"!$%&()*+,-.:;=[]'_~".contains(&byte))
}
