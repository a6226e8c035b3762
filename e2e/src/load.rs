//! What a client sends, built up in words.

pub use smilax_testapp::load::Speech;

/// A load, in the words of the client's command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Load {
    url: String,
    flags: Vec<String>,
}

impl Load {
    /// HTTP/1.1 to port 80 of a Service, by the name that a client in its namespace uses.
    pub fn http(host: &str) -> Self {
        Self::to(&format!("http://{host}/"))
    }

    /// HTTP/2 with prior knowledge to port 80.
    pub fn h2(host: &str) -> Self {
        Self::http(host).flag("speak", "h2")
    }

    /// gRPC, port 9000; every call over one connection unless more are asked for.
    pub fn grpc(host: &str) -> Self {
        Self::to(&format!("http://{host}:9000/")).flag("speak", "grpc")
    }

    /// A TCP connection for each request, port 9001.
    pub fn tcp(host: &str) -> Self {
        Self::to(&format!("http://{host}:9001/")).flag("speak", "tcp")
    }

    /// The same where the server speaks first, port 9002.
    pub fn server_first(host: &str) -> Self {
        Self::to(&format!("http://{host}:9002/")).flag("speak", "tcp-server-first")
    }

    /// HTTP/1.1 to a URL.
    pub fn to(url: &str) -> Self {
        Self {
            url: url.to_owned(),
            flags: Vec::new(),
        }
    }

    /// Ends after so many requests.
    #[must_use]
    pub fn requests(self, count: u64) -> Self {
        self.flag("requests", &count.to_string())
    }

    /// Ends after so many seconds.
    #[must_use]
    pub fn seconds(self, count: u64) -> Self {
        self.flag("duration", &count.to_string())
    }

    /// Requests a second, on schedule.
    #[must_use]
    pub fn rate(self, per_second: u32) -> Self {
        self.flag("rate", &per_second.to_string())
    }

    /// Connections, each with one request at a time.
    #[must_use]
    pub fn connections(self, count: u32) -> Self {
        self.flag("connections", &count.to_string())
    }

    /// A header.
    #[must_use]
    pub fn header(self, name: &str, value: &str) -> Self {
        self.flag("header", &format!("{name}={value}"))
    }

    /// The method.
    #[must_use]
    pub fn method(self, method: &str) -> Self {
        self.flag("method", method)
    }

    /// The path with query.
    #[must_use]
    pub fn path(self, path: &str) -> Self {
        self.flag("path", path)
    }

    /// Host instead of the URL's authority.
    #[must_use]
    pub fn host(self, host: &str) -> Self {
        self.flag("host", host)
    }

    /// Milliseconds until a request counts as failed; 1,000 unless said otherwise.
    #[must_use]
    pub fn timeout_ms(self, millis: u64) -> Self {
        self.flag("timeout-ms", &millis.to_string())
    }

    /// Begins each request when it is due, on a connection of its own when all are busy; those that take longer than so
    /// many milliseconds count as hung.
    #[must_use]
    pub fn open_loop(mut self, hung_after_ms: u64) -> Self {
        self.flags.push("--open-loop".to_owned());
        self.flag("hung-after-ms", &hung_after_ms.to_string())
    }

    /// The client's arguments.
    pub fn arguments(&self) -> Vec<String> {
        let mut arguments = vec![format!("--url={}", self.url)];
        arguments.extend(self.flags.iter().cloned());
        arguments
    }

    fn flag(mut self, name: &str, value: &str) -> Self {
        self.flags.push(format!("--{name}={value}"));
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_load_reads_as_the_clients_command_line() {
        let load = Load::http("web")
            .requests(2000)
            .header("x-user", "ann")
            .method("POST");
        assert_eq!(
            load.arguments(),
            [
                "--url=http://web/",
                "--requests=2000",
                "--header=x-user=ann",
                "--method=POST"
            ]
        );
    }
}
