"""Makes docs/attacks.md: what was tried against the mesh, what must become of it, and which test tries it.

A test proves an item when its name begins with the item's id, or several do, as in `c4_a_certificate_of_another_trust_domain_is_refused`.
UPDATE=1 writes the page; without it, the page must be as it would be written.
"""

import re
import subprocess
import sys
from pathlib import Path

from pages import write_or_compare

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "attacks.md"

GROUPS = {
    "A": "Framing and parsing of HTTP/1",
    "B": "HTTP/2 and gRPC",
    "C": "Identity and TLS",
    "D": "Access and routing",
    "E": "Interception and node",
    "F": "Control plane and tenants",
    "S": "Found by an adversarial campaign",
}

# Id, attack, what must become of it. A fourth column says why an item has no test yet.
ITEMS = [
    ("A1", "Content-Length and Transfer-Encoding together", "400, and the connection ends; behind another request in one piece, the encoding counts and the connection ends"),
    ("A2", "transfer codings other than chunked, once", "400; 501 for those that exist"),
    ("A3", "a Transfer-Encoding in disguise", "400"),
    ("A4", "a Content-Length that is no number, or two", "400; equal ones are one"),
    ("A5", "chunks that are none", "400, and neither connection is used again"),
    ("A6", "trailers that frame, route or authenticate", "left out"),
    ("A7", "chunks over HTTP/1.0, bodies that closing ends", "400; such a body is not read"),
    ("A8", "bytes behind an upgrade that is not granted", "they are the next request"),
    ("A9", "an upgrade with a body", "the body is a body"),
    ("A10", "an upgrade to cleartext HTTP/2", "not passed on"),
    ("A11", "a body that looks like a request, of a request that the proxy answers", "read as a body, or the connection ends"),
    ("A12", "servers that lie in 20 ways", "502, and nobody sees what was behind"),
    ("A13", "characters that no header may have", "400"),
    ("A14", "bare line feeds", "taken, and sent on as line ends"),
    ("A15", "request lines that are none", "400; methods are as they are written"),
    ("A16", "no Host, several, or none that is a host", "400"),
    ("A17", "an authority that differs from the Host", "400"),
    ("A18", "TRACE, `GET *`", "405"),
    ("A19", "headers that concern one connection, and those that `Connection` names", "they end with it; ours cannot be named"),
    ("A21", "headers that are sent slowly, over hundreds of connections, also of HTTP/2", "closed 10 s after their first byte"),
    ("A22", "slow bodies, clients that do not read, connections that are not used", "closed by limits of silence; bytes held are bounded, and where nothing is left, those that take none of them for 30 s are closed"),
    ("B1", "requests that are reset at once", "the connection ends"),
    ("B2", "CONTINUATION without end, also empty", "the connection ends"),
    ("B3", "resets that the proxy is made to send", "the connection ends"),
    ("B4", "SETTINGS and PING without end, and answers unread", "back pressure, or the connection ends"),
    ("B5", "empty DATA without end", "back pressure, or the connection ends"),
    ("B6", "headers that unpack to much", "431, or the connection ends"),
    ("B7", "streams and priorities without end", "refused beyond 1,000"),
    ("B8", "streams without a window that ask for large responses", "each holds little, and how many there may be is bounded by memory; others of their connection and other clients go on"),
    ("B9", "malformed requests", "reset, or 400; none reaches an application"),
    ("B10", "an authority that differs from the Host", "400"),
    ("B11", "servers of HTTP/2 that lie", "502 or 503, or a response without end; the next request is answered"),
    ("B12", "odd metadata of gRPC, calls that are given up", "passed on as they are; given up at once"),
    ("B13", "frames of WebSocket that are fragmented, reserved, malformed, huge or cut up; WebSocket over HTTP/2", "carried byte for byte both ways; not offered over HTTP/2, and refused"),
    ("B14", "first bytes that are no protocol", "carried as bytes, or the connection ends"),
    ("C1", "plaintext to a port that is strict", "reset; the application sees no byte"),
    ("C2", "TLS without a certificate, with a self-signed one, with one of another authority", "the handshake fails"),
    ("C3", "certificates that ran out, or are not valid yet; clocks apart by 20 s and by 10 min", "20 s are forgiven, 10 min are not"),
    ("C4", "a certificate of our authority with another trust domain", "the handshake fails"),
    ("C5", "a SPIFFE ID in a DNS name, two ids, odd spellings of an id", "exactly one id, byte for byte, or the handshake fails"),
    ("C6", "a certificate without the right usages, a leaf that signs, a chain too long", "the handshake fails"),
    ("C7", "TLS 1.2 and older, early data", "only TLS 1.3, never early data"),
    ("C8", "a session resumed after trust or policy changed", "a new handshake, judged by what holds now"),
    ("C9", "a root is taken out of the bundle while connections are open", "connections that chain to it end"),
    ("C10", "handshakes that are cut up, huge, slow, or never finished", "closed within 10 s, and parsed once; half-open ones are bounded, in all and for each address, or /64 of IPv6"),
    ("C11", "a valid certificate of the wrong account on a stolen address", "the caller's proxy refuses; nothing is sent"),
    ("C12", "headers that claim an identity, also spelt with underscores", "taken away; ours is added for callers that prove one"),
    ("C13", "keys and tokens in logs, environment, ConfigMaps, pages of administration", "nowhere"),
    ("C14", "a signing request for another identity, for an authority, for years", "the identity of the token, no authority, the usual life"),
    ("D1", "paths with dot segments, doubled or encoded slashes, backslashes", "400 where rules read paths; elsewhere untouched"),
    ("D2", "fragments, NUL, parameters, trailing dots in paths", "what could be read in two ways is refused"),
    ("D3", "a Host in another case, with a port, with a trailing dot", "the same Service"),
    ("D4", "a header several times, joined by commas, empty", "every value must match"),
    ("D5", "expressions that reach further than they look, dots in account names", "anchored, and accounts compared literally"),
    ("D6", "a rule meant for TCP that a name with a wildcard widens", "no wildcards: names are literal"),
    ("D7", "rules about requests on a port that carries bytes or TLS", "denied"),
    ("D8", "methods in another case, unknown ones, headers that override the method", "the method as it is written"),
    ("D9", "a caller without a sidecar, or around it", "judged by the called side all the same"),
    ("D10", "policy that is broken, unknown or not there yet", "the last good one stays, and it is said"),
    ("D11", "a target deleted while connections are open", "the next request is refused, TCP is reset"),
    ("D12", "an operator of a later version, a proxy of an earlier one", "no rule is weakened; what is not understood is refused"),
    ("D13", "an object that reaches for another namespace: names of Services and hosts, destinations, bindings, ExternalName, endpoints made by hand", "refused when applied, and ignored otherwise; nothing that proxies of the other namespace hold changes"),
    ("D14", "expressions that are huge, nested, or slow elsewhere", "refused when applied and by the proxy; the engine is linear"),
    ("D15", "backends that do not exist, weigh nothing, or lead back", "a defined answer, no loop"),
    ("D16", "a request with headers without number or end", "1,000 headers and 64 KiB, on HTTP/1 and HTTP/2; more is 431, in a response 502"),
    ("D17", "targets that are no URI, that are cut into pieces, or that another proxy lies about", "400 where rules read paths; elsewhere byte for byte as they came, and always what rules have seen"),
    ("D18", "CONNECT: into the pod of the forward proxy, around rules about requests, over HTTP/2", "405 for the pod itself and over HTTP/2; elsewhere the right that bytes need"),
    ("E1", "calls to every port of the proxy from everywhere", "a table of who may"),
    ("E2", "connections whose destination is loopback, a port of the proxy, or somebody else", "reset"),
    ("E3", "the other address family", "redirected too, or init fails"),
    ("E4", "an application under the proxy's user", "refused when the pod is made"),
    ("E5", "an application with NET_ADMIN or NET_RAW", "a warning; other pods are not concerned"),
    ("E6", "UDP", "dropped where the mode is deny; elsewhere documented as not carried"),
    ("E7", "annotations that take a pod or a port out of a closed namespace", "refused unless the Namespace permits it"),
    ("E8", "packets before the redirect, and after the proxy was killed", "refused, never straight to the application"),
    ("E9", "rules that are flushed or half there", "init verifies them by a connection and fails the pod"),
    ("E10", "a pod on the host's network", "left alone, and told so"),
    ("E11", "an application that calls itself through its Service", "works, no loop"),
    ("E12", "ten thousand connections of one source, no file descriptors left", "whoever comes takes a place of the source that has most, where a /64 of IPv6 counts before its addresses; accepting goes on and does not spin"),
    ("F1", "garbage and huge bodies on the operator's ports", "bounded, answered, the process stays up"),
    ("F2", "a caller of the webhooks that is not the API server", "no answer holds a secret; NetworkPolicy is shipped"),
    ("F3", "the webhook is down", "what failurePolicy says; system namespaces are never blocked"),
    ("F4", "a pod injected twice, a container with our name", "nothing twice; the name is refused"),
    ("F5", "a proxy that asks for what is another's", "it gets what belongs to its certificate's identity"),
    ("F6", "a tenant who reads its ConfigMaps", "no secret, nothing of others but names and addresses that it may call"),
    ("F7", "a token of another audience, of a deleted pod, or run out", "no certificate"),
    ("F8", "a pod that asks for certificates without end", "its share and no more; others are served"),
    ("F9", "a proxy that reads nothing of its stream", "it gets the newest state later; nobody waits for it"),
    ("F10", "hosts, paths and names without end", "series are bounded"),
    ("F11", "control characters in what is logged", "escaped"),
    ("F12", "a URL field that leads inside", "there is no such field"),
    ("F13", "debug pages from another pod", "loopback only"),
    ("F14", "the operator's rights, stolen", "no Secret but its own, no wildcard, no escalation"),
    ("F15", "a configuration above what a ConfigMap holds", "compressed; else something is left out as a whole and told, never who may call"),
    ("F16", "objects that change without end", "gathered: an object is written five times a second at most, and its last state within a second"),
    ("F17", "dependencies that are banned or of unknown licence", "the build fails: `cargo deny`"),
    ("F18", "an image that was exchanged", "pinned by digest in the chart's values; what it was made of lies beside it"),
    ("S1", "expressions that are small as text and large when compiled, a thousand objects of them", "bounded for each object, namespace and configuration, refused on their own object; measured off the path of other namespaces, which take turns"),
    ("S2", "objects that make another namespace's configuration too large, so that a right stays that was taken away", "nothing enters a configuration that did not ask for it; who may call is written first and always; imports are left out first"),
    ("S3", "a ConfigMap of a configuration edited: another policy, revision, bundle, signature, an old backup", "refused by proxies and replicas, told, repaired; see policy-integrity.md"),
    ("S4", "silent connections to the ports of probes, readiness and health, until kubelet restarts the application", "the oldest connection without a request gives way to each new one, whatever its address"),
    ("S5", "idle connections to the webhooks' port from two pods, until pods start without a sidecar", "the same; half-done handshakes give way first, and connections end by idle time and age"),
    ("S6", "clients that are slow, idle or do not read, until a sidecar runs out of memory", "connections, requests under way and bytes held are bounded by the memory limit, in every direction of its own; a source that has more is refused first, and only who takes nothing is closed; slow readers and silent streams go on. A sidecar with 256 MiB came to 58 MiB with 2,000 unused connections, 47 with 900 half-sent heads, and above its bar of 64 to 72 with 900 uploads and 92 with 900 clients that do not read"),
    ("S7", "a pod of a closed namespace that looks injected, uses its node's network, or has the proxy's user or group", "injected anew, or refused; on workloads too"),
    ("S8", "a debug container, or another image of the sidecar, that reads the key of a running pod", "refused; ordinary debugging goes on"),
    ("S9", "dot segments with parameters, encoded twice, overlong, or in characters that resemble them", "400 where rules read paths"),
    ("S10", "the operator's account, stolen, against ConfigMaps, SMI objects and definitions", "a policy of the API server leaves it those of the mesh; reads stay"),
    ("S11", "a stranger asks a pod for its probes, or runs its lifecycle hooks", "404 without the pod's own path segment"),
    ("S12", "a pod that mounts a token for the mesh, or an account that may call nothing, and asks the operator for accounts, nodes, zones, routes and splits of others", "certificates are for sidecars of this installation; who may not call is told addresses only, and answered with 403 by the called side"),
    ("S13", "somebody who reads metrics of other tenants' pods", "403 outside of `proxy.metrics.sourceRanges`; open as installed"),
    ("S14", "headers of identity with any separator", "taken away in every spelling that CGI reads as one"),
    ("S15", "a bad chunk of a client", "the client's 400; not counted as a failure of TLS"),
    ("S16", "a Host that is none", "400"),
    ("S18", "TRACE, `GET *`, targets that are too long", "405, 405, 414"),
    ("S19", "101 that was not asked for, a response that is wrong from its beginning", "502"),
    ("S20", "another Host than the authority, between proxies", "400"),
    ("S21", "forbidden trailers to servers of HTTP/2", "left out"),
    ("S22", "other protocols than TCP and UDP, into a pod where everything is denied", "dropped, but for answers, ICMP errors and discovery of neighbours"),
    ("S23", "a server that allows no streams", "one more connection is tried, then 503 within 2 s"),
    ("S24", "memory that an attack made a sidecar take", "given back within seconds of its end"),
    ("S25", "reviews of very many tiny values, until the operator runs out of memory", "counted before they are read; what takes too much is denied by name, the rest shares a budget, and small reviews do not wait for large ones"),
    ("S26", "an object that an old version cannot hold, or that cannot be read, so that lists and watches fail for everybody", "refused when it is written; stored all the same, it is shown without its content, marked, and not written back"),
    ("S27", "ConfigMaps under the operator's label that unpack to a thousand times their size, thousands of them, or one in the place of a policy", "nothing is unpacked; only what the authority signed is kept, and the rest is known by its digest, deleted or repaired. Until the authority is known, 4 MiB of a namespace and 16 MiB in all are kept, and the rest is read again"),
    ("S28", "pods, Services and other objects of megabytes, until operators cannot start", "of each object only an excerpt is decoded, whatever its size; one whose excerpt is too large is as one that does not exist, and the log names it"),
    ("S29", "objects with hundreds of mistakes each, until Events and statuses of other namespaces are late", "ten Events for an object and one that counts the rest, from a budget of its namespace; statuses come first, and namespaces take turns"),
    ("S30", "a proxy that reports a rejection, a revision or a generation of its choice", "counts for configurations that were written for its own account; in other namespaces it is one that does not enforce an object, and none of its words are repeated"),
    ("S31", "labels and annotations of a running pod that claim a sidecar, or deny one", "nothing changes: containers say whether there is a sidecar, what it carries and whose it is"),
    ("S32", "a member with its own TLS client that announces bytes and sends requests: whole, in pieces, as HTTP/2, after the server has spoken, behind CONNECT, or with a request line that only lenient servers take", "served as HTTP, with the identity that was proven and the rules about requests, or answered 400; bytes only where the pod declares TCP"),
    ("S33", "bytes above ASCII in lists: Connection, Upgrade, Transfer-Encoding", "the other elements count all the same; no upgrade to HTTP is passed on; 400 where a request's end depends on it"),
    ("S34", "another spelling of a header that rules read; a GET with a body in chunks", "400 where rules read that header; the body arrives"),
    ("S35", "answers on the ports of metrics and administration that nobody reads", "one page is shared by whoever asks within a second, and few exist at a time: the one that is read least gives way; few sets of parameters are under way at a time, and further ones are answered without the application; who takes nothing for 10 s is closed"),
    ("S36", "blank lines without end where a message should begin, large heads in dozens", "400 after 64 bytes, 502 for those of a server; large heads wait in a queue, and one is read at a time"),
    ("S37", "frames of HTTP/2 without end that carry nothing, from either side", "paid from an allowance that headers and data earn; beyond it, GOAWAY with ENHANCE_YOUR_CALM. Others have their turn after 256 frames"),
    ("S38", "crowds of connections to the operator's workload port: idle ones without a certificate, and many of one pod", "512 without a certificate and 4 of one pod; the one that asks for nothing, or the oldest, gives way to a newcomer"),
    ("S47", "labels or annotations of 128 KiB, or hundreds of ephemeral containers, which hide a running pod from the operator, so that its callers do not encrypt", "labels and annotations have a budget of their own: what is too large is left out. Ephemeral containers count where they mount something, and the pod keeps its address, account and sidecar"),
    ("S48", "a TrafficTarget that is too large to be taken in, so that it does not close its pods", "annotations and status have a budget of their own; whatever else its definition allows is taken in"),
    ("S64", "TLS hellos without end from one address of an IPv6 /64, which its node's other pods share", "one address has a quarter of what its /64 may have"),
    ("S51", "what only lenient servers take for a request, on a port whose protocol is detected: text that is none, a method that is no token, a request line that is completed after a pause; on any port that is not opaque, a request line that begins like TLS", "400 where HTTP is declared, kubelet probes with HTTP or the application has answered a request; the end of a late request line, or of one inside a TLS hello, does not pass; an answer that begins with a status line does not, and its client gets 400 from then on. Binary protocols and text pass without a delay"),
    ("S52", "thousands of long TLS hellos that do not end", "what is looked at stays in the kernel; what cannot be a hello of a proxy, or is longer than 8 KiB, is known from its first bytes and not waited for"),
    ("S39", "certificates asked for with the tokens of pods of megabytes, until the operator runs out of memory", "of a pod only an excerpt is decoded, as it arrives; four are asked for at a time, two of one namespace, and a pod takes its place among the six that it may ask for before that"),
    ("S40", "bodies of reviews that are sent slowly from two addresses, and conversions of 32 MiB, until the API server's reviews are answered with 429", "a source has its part of the budget whatever others do: where it finds no room, the slowest body of the source that holds most gives way; a body has 3 s, and 1 s for each 4 MiB; no source takes all of what is made of bodies"),
    ("S41", "handshakes, requests and questions about tokens from thousands of addresses of one /64", "counted for the /64 too; other networks are served, and an address of the same /64 keeps its own share"),
    ("S42", "reviews without end about namespaces that the operator has not seen, each of which makes it ask the API server", "eight questions at a time, four of one source, one for all who wait for the same answer; other sources wait for one of them at most, and no answer is older than its question"),
    ("S57", "blank lines of a server behind an interim response, or between responses", "64 bytes before each response are skipped, and 502 for more; behind a response, the connection is closed. None is an answer, and no request is sent twice"),
    ("S58", "upgrades behind which requests could go by unseen: TLS within HTTP/1.1, HTTP/2 and HTTP/3, unknown protocols; a switch to another protocol than was asked for, to none, or to WebSocket without an answer to its key", "those that carry requests are left out; unknown ones as well, unless bytes are allowed; 502 for such a switch"),
    ("S59", "requests that become others between HTTP/1 and HTTP/2: paths without a slash, lengths that are empty or written differently, forms and targets that an application claims, line breaks, extended CONNECT; content where none may be", "400, or reset; claims are overwritten; content behind a response is nobody's"),
    ("S60", "a server that answers before it has read the body, and takes the body for a request", "its connection serves nobody else"),
    ("S61", "a mesh peer that closes, resets or goes away once it has a POST", "the POST is not sent again"),
    ("S62", "a body that was held back (`Expect: 100-continue`), that the server refused, and that looks like a request", "it is not sent, and both connections end"),
    ("S63", "a ConfigMap of a configuration frozen with one write: immutable and without the operator's label, immutable with a finalizer, or with annotations, finalizers or owners that leave no room", "its metadata is cleared in exactly that version and our label put back; it is deleted and created again"),
    ("S62", "a body that was held back (`Expect: 100-continue`), that the server refused, also late, and that looks like a request; expectations that servers read differently", "it is not sent, or is followed by nothing, and both connections end; 417"),
    ("S45", "ConfigMaps with the operator's label and tens of thousands of keys, until operators that repair them run out of memory", "of all foreign keys one name is read; the ConfigMap is deleted in exactly that version and created again"),
    ("S46", "deeply nested fields of an SMI object, written while it is being deleted, so that writes of its status fail for ever and fill the log", "the changed content is judged although the object is going, finalizers can always be removed; a write of a status reads metadata and status only"),
]

TEST = re.compile(r"^\s*(?:async )?fn (((?:[abcdefs]\d+_)+)\w+)\(", re.MULTILINE)
# Checks that are no tests of Rust, as functions of the shell.
CHECK = re.compile(r"^(((?:[abcdefs]\d+_)+)\w+)\(\) \{", re.MULTILINE)


def tests():
    """Names of tests by id."""
    found = {}
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.rs", "hack/check-*"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )
    for file in sorted(listed.stdout.split()):
        path = ROOT / file
        if not path.is_file():
            continue
        pattern = TEST if path.suffix == ".rs" else CHECK
        for name, identities in pattern.findall(path.read_text()):
            for identity in identities.strip("_").split("_"):
                found.setdefault(identity.upper(), []).append((name, file))
    return found


def page():
    """The text of the page."""
    proven = tests()
    lines = [
        "# Attacks",
        "",
        "What was tried against the mesh, what must become of it, and the test that tries it on every run of `make test`.",
        "The page is made by `hack/check-attacks`. What has no test is open, and says why.",
        "What attacks cost, and what a victim notices meanwhile, is measured in the [campaign](attack-campaign.md).",
    ]
    count = 0
    for group, title in GROUPS.items():
        lines += ["", f"## {group}. {title}", "", "| id | attack | outcome | test |", "|---|---|---|---|"]
        for identity, attack, outcome, *reason in ITEMS:
            if not identity.startswith(group):
                continue
            names = [f"`{name}` ({file})" for name, file in proven.get(identity, [])]
            count += bool(names)
            shown = "<br>".join(names) or f"open: {reason[0] if reason else 'no test yet'}"
            lines.append(f"| {identity} | {attack} | {outcome} | {shown} |")
    lines += ["", f"{count} of {len(ITEMS)} have a test.", ""]
    return "\n".join(lines)


def main():
    """Writes or compares."""
    known = {identity for identity, *_ in ITEMS}
    strangers = sorted(set(tests()) - known)
    if strangers:
        sys.exit(f"FAILED tests bear ids that hack/attacks.py does not list: {', '.join(strangers)}")
    write_or_compare(PAGE, page(), "the tests say", "check-attacks")


if __name__ == "__main__":
    main()
