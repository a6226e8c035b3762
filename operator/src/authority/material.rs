//! What lies in the Secret, and whether it can be used.

use std::collections::{BTreeMap, BTreeSet};

use rcgen::KeyPair;
use rustls_pki_types::CertificateDer;
use smilax_core::signature::Voucher;
use smilax_core::workload_connection::{KeyId, TrustBundle};
use time::OffsetDateTime;

use crate::pki::{Fault, Pair, Validity, chain, examine_authority, key_id, leads_to, malformed, parse};

/// Keys of the Secret.
pub(super) mod entry {
    pub(in crate::authority) const ROOT: &str = "root.crt";
    pub(in crate::authority) const ROOT_KEY: &str = "root.key";
    pub(in crate::authority) const ISSUER: &str = "issuer.crt";
    pub(in crate::authority) const ISSUER_KEY: &str = "issuer.key";
    pub(in crate::authority) const NEXT_ROOT: &str = "next-root.crt";
    pub(in crate::authority) const NEXT_ROOT_KEY: &str = "next-root.key";
    pub(in crate::authority) const NEXT_ISSUER: &str = "next-issuer.crt";
    pub(in crate::authority) const NEXT_ISSUER_KEY: &str = "next-issuer.key";
    pub(in crate::authority) const PREVIOUS_ROOT: &str = "previous-root.crt";
    pub(in crate::authority) const GENERATION: &str = "generation";
    pub(in crate::authority) const PHASE: &str = "phase";
    pub(in crate::authority) const REQUEST: &str = "request";
    pub(in crate::authority) const RUNNING: &str = "running-request";
    pub(in crate::authority) const VOUCHERS: &str = "vouchers";
    /// Of a Secret that the user gives, in cert-manager's layout.
    pub(in crate::authority) const GIVEN: &str = "tls.crt";
    pub(in crate::authority) const GIVEN_KEY: &str = "tls.key";
    pub(in crate::authority) const GIVEN_ROOT: &str = "ca.crt";
}

/// Content of the Secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Material {
    /// Generation of the bundle that follows from it.
    pub(super) generation: u64,
    /// Root and issuer in use.
    pub(super) signer: Signer,
    /// Where a change stands.
    pub(super) rotation: Rotation,
    /// The last request that was taken up.
    pub(super) request: Option<String>,
    /// The request that the change under way serves; `None` for one by schedule.
    pub(super) running: Option<String>,
    /// How the root in use follows from earlier ones, oldest first: pods trust the roots that they were created with.
    pub(super) vouchers: Vec<Voucher>,
}

/// A root and an issuer below it.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Signer {
    /// The root, or several, PEM.
    pub(super) root: String,
    /// Its key; the user's root has none here.
    pub(super) root_key: Option<String>,
    /// The issuer and what leads from it to the root, with its key.
    pub(super) issuer: Pair,
}

impl std::fmt::Debug for Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Signer").finish_non_exhaustive()
    }
}

/// Where a change stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Rotation {
    /// None is under way.
    None,
    /// The next root is trusted; its issuer signs nothing yet.
    Announced(Signer),
    /// The new issuer signs; certificates of the one before are still about.
    Renewing {
        /// The root before, which is still trusted; `None` when it is the same.
        previous: Option<String>,
    },
}

/// [`Material`] that was found usable.
#[derive(Clone, Debug)]
pub struct Authority {
    pub(super) material: Material,
    pub(super) root: Validity,
    pub(super) issuer: Validity,
    pub(super) key_id: KeyId,
    pub(super) roots: Vec<CertificateDer<'static>>,
}

/// An authority that the user gives, found usable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Given {
    pub(super) signer: Signer,
}

impl Material {
    /// Reads the Secret's data.
    ///
    /// # Errors
    /// Only for what says where a change stands; certificates are looked at by [`Authority::examine`].
    pub fn from_data(data: &BTreeMap<String, Vec<u8>>) -> Result<Self, Fault> {
        let text = |entry: &str| {
            data.get(entry)
                .map(|bytes| String::from_utf8_lossy(bytes).into_owned())
        };
        let needed = |entry: &'static str| text(entry).ok_or(Fault::Missing { entry });
        let signer = |root, root_key, issuer, issuer_key| {
            Ok(Signer {
                root: needed(root)?,
                root_key: text(root_key),
                issuer: Pair {
                    certificate: needed(issuer)?,
                    key: needed(issuer_key)?,
                },
            })
        };
        let generation = needed(entry::GENERATION)?
            .trim()
            .parse()
            .map_err(|error| malformed(entry::GENERATION, error))?;
        let phase = needed(entry::PHASE)?;
        let rotation = match phase.trim() {
            "steady" => Rotation::None,
            "announced" => Rotation::Announced(signer(
                entry::NEXT_ROOT,
                entry::NEXT_ROOT_KEY,
                entry::NEXT_ISSUER,
                entry::NEXT_ISSUER_KEY,
            )?),
            "renewing" => Rotation::Renewing {
                previous: text(entry::PREVIOUS_ROOT),
            },
            other => {
                return Err(malformed(
                    entry::PHASE,
                    format!("{other:?} is not steady, announced or renewing"),
                ));
            }
        };
        let vouchers = match text(entry::VOUCHERS) {
            Some(vouchers) => {
                serde_json::from_str(&vouchers).map_err(|error| malformed(entry::VOUCHERS, error))?
            }
            None => Vec::new(),
        };
        Ok(Self {
            vouchers,
            generation,
            signer: signer(entry::ROOT, entry::ROOT_KEY, entry::ISSUER, entry::ISSUER_KEY)?,
            rotation,
            request: text(entry::REQUEST),
            running: text(entry::RUNNING),
        })
    }

    /// The Secret's data.
    pub fn to_data(&self) -> BTreeMap<String, Vec<u8>> {
        let phase = self.phase();
        let generation = self.generation.to_string();
        // Strings and numbers only, so it cannot fail to be written.
        let vouchers = serde_json::to_string(&self.vouchers).unwrap_or_default();
        let mut entries = vec![
            (entry::GENERATION, Some(generation.as_str())),
            (entry::PHASE, Some(phase)),
            (entry::ROOT, Some(&self.signer.root)),
            (entry::ROOT_KEY, self.signer.root_key.as_deref()),
            (entry::ISSUER, Some(&self.signer.issuer.certificate)),
            (entry::ISSUER_KEY, Some(&self.signer.issuer.key)),
            (entry::REQUEST, self.request.as_deref()),
            (entry::RUNNING, self.running.as_deref()),
            (
                entry::VOUCHERS,
                (!self.vouchers.is_empty()).then_some(vouchers.as_str()),
            ),
        ];
        match &self.rotation {
            Rotation::None => {}
            Rotation::Announced(next) => entries.extend([
                (entry::NEXT_ROOT, Some(next.root.as_str())),
                (entry::NEXT_ROOT_KEY, next.root_key.as_deref()),
                (entry::NEXT_ISSUER, Some(&next.issuer.certificate)),
                (entry::NEXT_ISSUER_KEY, Some(&next.issuer.key)),
            ]),
            Rotation::Renewing { previous } => entries.push((entry::PREVIOUS_ROOT, previous.as_deref())),
        }
        entries
            .into_iter()
            .filter_map(|(entry, text)| Some((entry.to_owned(), text?.as_bytes().to_vec())))
            .collect()
    }

    pub(super) fn phase(&self) -> &'static str {
        match &self.rotation {
            Rotation::None => "steady",
            Rotation::Announced(_) => "announced",
            Rotation::Renewing { .. } => "renewing",
        }
    }

    /// What the mesh is to trust, PEM: the root in use first.
    pub(super) fn roots(&self) -> String {
        let beside = match &self.rotation {
            Rotation::None | Rotation::Renewing { previous: None } => None,
            Rotation::Announced(next) => Some(&next.root),
            Rotation::Renewing {
                previous: Some(previous),
            } => Some(previous),
        };
        let line = |pem: &str| format!("{}\n", pem.trim_end());
        match beside {
            Some(beside) => line(&self.signer.root) + &line(beside),
            None => line(&self.signer.root),
        }
    }
}

impl Authority {
    /// Looks at everything: whether it can be read, belongs together, and is valid at `now`.
    ///
    /// # Errors
    /// The entry that keeps it from being used, and why.
    pub fn examine(material: Material, now: OffsetDateTime) -> Result<Self, Fault> {
        let names = SignerEntries {
            root: entry::ROOT,
            root_key: entry::ROOT_KEY,
            issuer: entry::ISSUER,
            issuer_key: entry::ISSUER_KEY,
        };
        let current = examine_signer(&material.signer, &names)?;
        in_time(entry::ROOT, current.root, now)?;
        // With the root's key at hand, an issuer that ran out is no loss: the next one is made at once.
        if material.signer.root_key.is_none() {
            in_time(entry::ISSUER, current.issuer, now)?;
        }
        let mut roots = current.roots;
        match &material.rotation {
            Rotation::None | Rotation::Renewing { previous: None } => {}
            Rotation::Announced(next) => {
                let names = SignerEntries {
                    root: entry::NEXT_ROOT,
                    root_key: entry::NEXT_ROOT_KEY,
                    issuer: entry::NEXT_ISSUER,
                    issuer_key: entry::NEXT_ISSUER_KEY,
                };
                roots.extend(examine_signer(next, &names)?.roots);
            }
            Rotation::Renewing {
                previous: Some(previous),
            } => {
                roots.extend(chain(entry::PREVIOUS_ROOT, previous)?);
            }
        }
        Ok(Self {
            material,
            root: current.root,
            issuer: current.issuer,
            key_id: current.key_id,
            roots,
        })
    }

    /// What the mesh is to trust.
    pub fn bundle(&self) -> TrustBundle {
        TrustBundle {
            generation: self.material.generation,
            roots: self.material.roots(),
            issuer: self.key_id.clone(),
        }
    }

    /// The same as certificates.
    pub fn roots(&self) -> &[CertificateDer<'static>] {
        &self.roots
    }

    /// The keys of what the mesh is to trust.
    pub fn root_ids(&self) -> BTreeSet<KeyId> {
        let roots = self.roots.iter().filter_map(|der| parse(entry::ROOT, der).ok());
        roots.map(|root| key_id(&root)).collect()
    }

    /// Which key signs.
    pub fn key_id(&self) -> &KeyId {
        &self.key_id
    }

    /// What was examined.
    pub fn material(&self) -> &Material {
        &self.material
    }
}

impl Given {
    /// Reads the user's Secret and looks at it.
    ///
    /// # Errors
    /// The entry that keeps it from being used, and why.
    pub fn examine(data: &BTreeMap<String, Vec<u8>>, now: OffsetDateTime) -> Result<Self, Fault> {
        let text = |entry: &'static str| {
            data.get(entry)
                .map(|bytes| String::from_utf8_lossy(bytes).into_owned())
                .ok_or(Fault::Missing { entry })
        };
        let signer = Signer {
            root: text(entry::GIVEN_ROOT)?,
            root_key: None,
            issuer: Pair {
                certificate: text(entry::GIVEN)?,
                key: text(entry::GIVEN_KEY)?,
            },
        };
        let names = SignerEntries {
            root: entry::GIVEN_ROOT,
            root_key: entry::GIVEN_KEY,
            issuer: entry::GIVEN,
            issuer_key: entry::GIVEN_KEY,
        };
        let examined = examine_signer(&signer, &names)?;
        in_time(entry::GIVEN_ROOT, examined.root, now)?;
        in_time(entry::GIVEN, examined.issuer, now)?;
        Ok(Self { signer })
    }
}

struct SignerEntries {
    root: &'static str,
    root_key: &'static str,
    issuer: &'static str,
    issuer_key: &'static str,
}

struct Examined {
    root: Validity,
    issuer: Validity,
    key_id: KeyId,
    roots: Vec<CertificateDer<'static>>,
}

fn examine_signer(signer: &Signer, names: &SignerEntries) -> Result<Examined, Fault> {
    let roots = chain(names.root, &signer.root)?;
    // With several roots the first end counts: a warning too early is better than one too late.
    let mut root: Option<Validity> = None;
    for der in &roots {
        let certificate = parse(names.root, der)?;
        if !certificate.is_ca() {
            return Err(malformed(names.root, "it may not sign certificates"));
        }
        let one = Validity::of(&certificate);
        root = Some(root.map_or(one, |known| known.within(one)));
    }
    let root = root.ok_or_else(|| malformed(names.root, "it holds no certificate"))?;
    if let Some(key) = &signer.root_key {
        let pair = Pair {
            certificate: signer.root.clone(),
            key: key.clone(),
        };
        examine_authority(&pair, names.root, names.root_key)?;
    }
    let issuer = examine_authority(&signer.issuer, names.issuer, names.issuer_key)?;
    let issuers = chain(names.issuer, &signer.issuer.certificate)?;
    let (first, others) = issuers
        .split_first()
        .ok_or_else(|| malformed(names.issuer, "it holds no certificate"))?;
    let key_id = key_id(&parse(names.issuer, first)?);
    // A root may sign by itself. Otherwise what is signed must lead to a root, which a leaf shows.
    if !roots.contains(first) {
        let key =
            KeyPair::from_pem(&signer.issuer.key).map_err(|error| malformed(names.issuer_key, error))?;
        let leaf = super::issue::trial(first, key).map_err(|error| malformed(names.issuer, error))?;
        let at = root.within(issuer).not_before;
        let mut between = vec![first.clone()];
        between.extend(others.iter().cloned());
        leads_to(names.issuer, names.root, &leaf, &between, roots.clone(), at)?;
    }
    Ok(Examined {
        root,
        issuer,
        key_id,
        roots,
    })
}

fn in_time(entry: &'static str, validity: Validity, now: OffsetDateTime) -> Result<(), Fault> {
    let reason = if now >= validity.not_after {
        format!("expired at {}", validity.not_after)
    } else if now + time::Duration::days(1) < validity.not_before {
        format!("is not valid before {}", validity.not_before)
    } else {
        return Ok(());
    };
    Err(Fault::Time { entry, reason })
}
