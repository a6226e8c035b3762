//! LimitRanges, which the webhooks compare sidecars with.

use k8s_openapi::api::core::v1::LimitRange;

use super::{Named, Seen, named};
use crate::cluster_view::LimitRangeView;
use crate::controller::state::Inner;

pub(super) fn limit_range(object: &LimitRange) -> Named<LimitRangeView> {
    named(object, LimitRangeView::from(object))
}

pub(super) fn limit_ranges(inner: &mut Inner, seen: Seen<Named<LimitRangeView>>) {
    match seen {
        Seen::Applied(one) => {
            let of_namespace = inner.limit_ranges.entry(one.namespace).or_default();
            of_namespace.insert(one.name, one.value);
        }
        Seen::Deleted(one) => {
            if let Some(of_namespace) = inner.limit_ranges.get_mut(&one.namespace) {
                of_namespace.remove(&one.name);
                if of_namespace.is_empty() {
                    inner.limit_ranges.remove(&one.namespace);
                }
            }
        }
        Seen::All(all) => {
            inner.limit_ranges.clear();
            for one in all {
                limit_ranges(inner, Seen::Applied(one));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::json;
    use smilax_compiler::index::Settings;

    use super::*;
    use crate::controller::kinds::Watched;
    use crate::controller::state::State;

    fn object(name: &str) -> LimitRange {
        let limits = json!([
            {"type": "Container", "max": {"cpu": "500m"}, "min": {"memory": "1Mi"}, "maxLimitRequestRatio": {"cpu": "4"}},
            {"type": "PersistentVolumeClaim", "max": {"storage": "1Gi"}},
        ]);
        let object = json!({"metadata": {"name": name, "namespace": "shop"}, "spec": {"limits": limits}});
        serde_json::from_value(object).unwrap()
    }

    #[test]
    fn the_limit_ranges_of_a_namespace_are_known_as_long_as_they_exist() {
        let state = State::new(Settings::default());
        let see = |seen| state.tell(|inner| limit_ranges(inner, seen));
        let names = || state.read(|inner| inner.limit_ranges.get("shop").map(BTreeMap::len));
        see(Seen::All(vec![limit_range(&object("one"))]));
        see(Seen::Applied(limit_range(&object("two"))));
        assert_eq!(names(), Some(2));
        see(Seen::Deleted(limit_range(&object("one"))));
        see(Seen::Deleted(limit_range(&object("two"))));
        assert_eq!(names(), None);
        see(Seen::Applied(limit_range(&object("two"))));
        see(Seen::All(Vec::new()));
        assert_eq!(names(), None);
    }

    #[test]
    fn only_what_it_says_of_containers_and_pods_is_kept() {
        let view = limit_range(&object("one")).value;
        assert_eq!(view.limits.len(), 1);
        assert_eq!(view.limits[0].max["cpu"], "500m");
        assert_eq!(view.limits[0].max_limit_request_ratio["cpu"], "4");
    }

    #[test]
    fn an_operator_that_cannot_read_limit_ranges_is_ready() {
        assert!(!Watched::all().any(|kind| kind == Watched::LimitRange));
    }
}
