use std::io;

use rustls::pki_types::ServerName;
use rustls::{HandshakeKind, NamedGroup, ProtocolVersion};

use super::*;
use crate::tls::testing::{Authority, Signed};

fn context(authority: &Authority, signed: &Signed) -> TlsContext {
    let own = Credentials::new(&signed.key(), signed.chain_pem().as_bytes()).unwrap();
    let trust = Trust::new(authority.bundle(1), authority.trust_domain()).unwrap();
    TlsContext::new(Arc::new(own), Arc::new(trust)).unwrap()
}

fn of(authority: &Authority, account: &str) -> TlsContext {
    context(authority, &authority.leaf(account))
}

/// Lets both ends speak until neither has anything to say.
fn shake(
    client: &Arc<ClientConfig>,
    server: &Arc<ServerConfig>,
) -> Result<(ClientConnection, ServerConnection), Error> {
    let name = ServerName::from(std::net::IpAddr::from([127, 0, 0, 1]));
    let mut client = ClientConnection::new(Arc::clone(client), name)?;
    let mut server = ServerConnection::new(Arc::clone(server))?;
    while client.wants_write() || server.wants_write() {
        let mut bytes = Vec::new();
        client.write_tls(&mut bytes).map_err(|error| other(&error))?;
        server.read_tls(&mut &bytes[..]).map_err(|error| other(&error))?;
        server.process_new_packets()?;
        bytes.clear();
        server.write_tls(&mut bytes).map_err(|error| other(&error))?;
        client.read_tls(&mut &bytes[..]).map_err(|error| other(&error))?;
        client.process_new_packets()?;
    }
    Ok((client, server))
}

fn other(error: &io::Error) -> Error {
    Error::General(error.to_string())
}

#[test]
fn both_ends_learn_who_the_other_is_and_what_is_carried() {
    let authority = Authority::new("cluster.local");
    let (web, api) = (of(&authority, "shop/web"), of(&authority, "shop/api"));
    for wire in Wire::ALL {
        let (client, server) = shake(web.client(wire), api.server()).unwrap();
        let first = api.client_of(&server).unwrap();
        let second = web.server_of(&client).unwrap();
        assert_eq!(
            first.identity.id.as_str(),
            "spiffe://cluster.local/ns/shop/sa/web"
        );
        assert_eq!(
            second.identity.id.as_str(),
            "spiffe://cluster.local/ns/shop/sa/api"
        );
        assert_eq!(server.alpn_protocol().and_then(Wire::of), Some(wire));
        assert_eq!(client.alpn_protocol().and_then(Wire::of), Some(wire));
    }
}

#[test]
fn c7_nothing_below_tls_1_3_and_the_key_exchange_is_hybrid() {
    let authority = Authority::new("cluster.local");
    let (web, api) = (of(&authority, "shop/web"), of(&authority, "shop/api"));
    let (client, _) = shake(web.client(Wire::Http2), api.server()).unwrap();
    assert_eq!(client.protocol_version(), Some(ProtocolVersion::TLSv1_3));
    let group = client.negotiated_key_exchange_group().unwrap().name();
    assert_eq!(group, NamedGroup::X25519MLKEM768);
    let old = ClientConfig::builder_with_provider(Arc::new(provider()))
        .with_protocol_versions(&[&rustls::version::TLS12])
        .unwrap()
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    assert!(shake(&Arc::new(old), api.server()).is_err());
    assert_eq!(api.server().max_early_data_size, 0);
}

#[test]
fn c2_a_client_without_a_certificate_is_refused() {
    let authority = Authority::new("cluster.local");
    let api = of(&authority, "shop/api");
    let mut nobody = ClientConfig::clone(OperatorTls::new(&api.trust, None).unwrap().config.as_ref());
    nobody.alpn_protocols = vec![Wire::Http2.alpn().to_vec()];
    let refused = shake(&Arc::new(nobody), api.server()).unwrap_err();
    assert_eq!(refused, Error::NoCertificatesPresented);
}

#[test]
fn c2_each_end_refuses_an_authority_that_is_not_its_own() {
    let (ours, theirs) = (Authority::new("cluster.local"), Authority::new("cluster.local"));
    let (web, api) = (of(&ours, "shop/web"), of(&theirs, "shop/api"));
    let refused = shake(web.client(Wire::Http2), api.server()).unwrap_err();
    assert_eq!(PeerError::of(&refused).map(PeerError::reason), Some("untrusted"));
    assert!(shake(api.client(Wire::Bytes), web.server()).is_err());
}

#[test]
fn c4_another_trust_domain_of_the_same_root_is_refused() {
    let authority = Authority::new("cluster.local");
    let stranger = authority.leaf_with(|leaf| leaf.uris = vec!["spiffe://other/ns/shop/sa/web".to_owned()]);
    let (stranger, api) = (context(&authority, &stranger), of(&authority, "shop/api"));
    for (client, server) in [(&stranger, &api), (&api, &stranger)] {
        let refused = shake(client.client(Wire::Http1), server.server()).unwrap_err();
        assert_eq!(
            PeerError::of(&refused).map(PeerError::reason),
            Some("trust_domain")
        );
    }
}

#[test]
fn c10_another_alpn_is_refused() {
    let authority = Authority::new("cluster.local");
    let api = of(&authority, "shop/api");
    let other = OperatorTls::new(&api.trust, Some(&api.own)).unwrap();
    assert_eq!(
        shake(&other.config, api.server()).unwrap_err(),
        Error::NoApplicationProtocol
    );
}

#[test]
fn c8_a_session_is_resumed_within_one_context_and_not_after_it_was_replaced() {
    let authority = Authority::new("cluster.local");
    let (web, api) = (of(&authority, "shop/web"), of(&authority, "shop/api"));
    let kind = |server: &TlsContext| {
        let (client, connection) = shake(web.client(Wire::Http2), server.server()).unwrap();
        assert!(server.client_of(&connection).is_ok());
        client.handshake_kind()
    };
    assert_eq!(kind(&api), Some(HandshakeKind::Full));
    assert_eq!(kind(&api), Some(HandshakeKind::Resumed));
    let replaced = TlsContext::new(Arc::clone(&api.own), Arc::clone(&api.trust)).unwrap();
    assert_eq!(kind(&replaced), Some(HandshakeKind::Full));
}

#[test]
fn c8_who_resumes_is_verified_against_the_bundle_of_now() {
    let (old, new) = (Authority::new("cluster.local"), Authority::new("cluster.local"));
    let (web, api) = (of(&old, "shop/web"), of(&old, "shop/api"));
    let (_, before) = shake(web.client(Wire::Http2), api.server()).unwrap();
    let peer = api.client_of(&before).unwrap();
    let replaced = of(&new, "shop/api");
    assert!(api.trusts(&peer) && !replaced.trusts(&peer));
    assert_eq!(replaced.client_of(&before).unwrap_err().reason(), "untrusted");
}

#[test]
fn the_operator_is_verified_before_there_is_a_certificate_to_show() {
    let authority = Authority::new("cluster.local");
    let operator = authority.leaf("smilax-system/smilax-operator");
    let server = |signed: &Signed| {
        let mut config = ServerConfig::builder_with_provider(Arc::new(provider()))
            .with_protocol_versions(&[&TLS13])
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(signed.chain.clone(), signed.key())
            .unwrap();
        config.alpn_protocols = vec![OPERATOR_ALPN.to_vec()];
        Arc::new(config)
    };
    let trust = Arc::new(Trust::new(authority.bundle(1), authority.trust_domain()).unwrap());
    let tls = OperatorTls::new(&trust, None).unwrap();
    let (client, _) = shake(&tls.config, &server(&operator)).unwrap();
    let called = tls.server_of(&client).unwrap();
    let workload = called.identity.workload.as_ref().unwrap();
    assert_eq!(workload.to_string(), "smilax-system/smilax-operator");
    let impostor = Authority::new("cluster.local").leaf("smilax-system/smilax-operator");
    assert!(shake(&tls.config, &server(&impostor)).is_err());
}
