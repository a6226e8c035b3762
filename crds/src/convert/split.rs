//! TrafficSplit: weights were quantities in v1alpha1, and `spec.matches` came with v1alpha3.

use serde_json::{Map, Value, json};

use super::{MATCHES, Reason, Version, WEIGHTS, annotation, spec_of};
use crate::quantity::Quantity;
use crate::split::MAX_WEIGHT;

pub(super) fn to_hub(
    object: &mut Map<String, Value>,
    from: Version,
    warnings: &mut Vec<String>,
) -> Result<(), Reason> {
    if from <= Version::V1Alpha2 && object.get("spec").is_some_and(Value::is_object) {
        let expected = "the list of matches as JSON";
        let matches = annotation::take(object, MATCHES, expected, annotation::list_of_objects)?;
        if let (Some(matches), Some(spec)) = (matches, spec_of(object)) {
            spec.insert("matches".to_owned(), matches);
        }
    }
    if from == Version::V1Alpha1 {
        let mut original = None;
        if let Some(Value::Array(backends)) = spec_of(object).and_then(|spec| spec.get_mut("backends")) {
            let written = backends.iter().map(written).collect::<Vec<_>>();
            let weights = whole_weights(&written.iter().map(|(_, weight)| weight).collect::<Vec<_>>());
            for (backend, weight) in backends.iter_mut().zip(&weights.values) {
                if let Some(backend) = backend.as_object_mut() {
                    backend.insert("weight".to_owned(), weight.clone());
                }
            }
            if written
                .iter()
                .zip(&weights.values)
                .any(|((_, before), after)| before != after)
            {
                original = Some(Value::from(written.into_iter().map(pair).collect::<Vec<_>>()).to_string());
            }
            warnings.extend(weights.warnings);
            annotation::set(object, WEIGHTS, original)?;
        }
    }
    Ok(())
}

pub(super) fn from_hub(object: &mut Map<String, Value>, to: Version) -> Result<(), Reason> {
    if to <= Version::V1Alpha2 && object.get("spec").is_some_and(Value::is_object) {
        let matches = spec_of(object)
            .and_then(|spec| spec.get("matches"))
            .map(Value::to_string);
        let kept = matches.filter(|text| annotation::list_of_objects(text).is_some());
        if let (Some(_), Some(spec)) = (&kept, spec_of(object)) {
            spec.remove("matches");
        }
        annotation::set(object, MATCHES, kept)?;
    }
    if to == Version::V1Alpha1 {
        let original = annotation::get(object, WEIGHTS).and_then(|text| serde_json::from_str(text).ok());
        if let Some(Value::Array(backends)) = spec_of(object).and_then(|spec| spec.get_mut("backends")) {
            restore(backends, original.as_ref());
            annotation::set(object, WEIGHTS, None)?;
        }
    }
    Ok(())
}

/// Puts the original quantities back if they are still what the weights were made from; otherwise the whole numbers
/// stay, which are quantities too.
fn restore(backends: &mut [Value], original: Option<&Value>) {
    let Some(original) = original.and_then(Value::as_array) else {
        return;
    };
    let pairs: Option<Vec<(&Value, &Value)>> = original
        .iter()
        .map(|pair| match pair.as_array().map(Vec::as_slice) {
            Some([service, weight]) => Some((service, weight)),
            _ => None,
        })
        .collect();
    let Some(pairs) = pairs.filter(|pairs| pairs.len() == backends.len()) else {
        return;
    };
    let weights = whole_weights(&pairs.iter().map(|(_, weight)| *weight).collect::<Vec<_>>());
    let corresponds =
        backends
            .iter()
            .zip(&pairs)
            .zip(&weights.values)
            .all(|((backend, (service, _)), weight)| {
                let (name, present) = written(backend);
                name == **service && present == *weight
            });
    if !corresponds {
        return;
    }
    for (backend, (_, weight)) in backends.iter_mut().zip(pairs) {
        let Some(backend) = backend.as_object_mut() else {
            continue;
        };
        if weight.is_null() {
            backend.remove("weight");
        } else {
            backend.insert("weight".to_owned(), weight.clone());
        }
    }
}

/// Service and weight of a backend as written; null where there is none.
fn written(backend: &Value) -> (Value, Value) {
    let field = |name| backend.get(name).cloned().unwrap_or_default();
    (field("service"), field("weight"))
}

fn pair((service, weight): (Value, Value)) -> Value {
    json!([service, weight])
}

struct Weights {
    /// As many as were given.
    values: Vec<Value>,
    warnings: Vec<String>,
}

/// Whole weights in the ratio of quantities. If all quantities are whole they are the weights; otherwise all are
/// counted in thousandths and divided by what they have in common. What is no quantity stays as it is.
fn whole_weights(written: &[&Value]) -> Weights {
    let mut warnings = Vec::new();
    let quantities: Vec<Option<Quantity>> = written
        .iter()
        .enumerate()
        .map(|(index, value)| {
            if value.is_null() {
                warnings.push(format!(
                    "spec.backends[{index}].weight: is missing and counts as 0"
                ));
                return Quantity::parse("0");
            }
            let quantity = Quantity::read(value);
            if quantity.is_none() {
                warnings.push(format!(
                    "spec.backends[{index}].weight: {value} is not a quantity; write a whole number"
                ));
            }
            quantity
        })
        .collect();
    let all_whole = quantities
        .iter()
        .flatten()
        .all(|quantity| quantity.whole().is_some());
    let thousandths: Vec<i128> = quantities
        .iter()
        .flatten()
        .map(|quantity| quantity.milli())
        .collect();
    let divisor = thousandths
        .iter()
        .fold(0, |divisor, milli| gcd(divisor, milli.abs()))
        .max(1);
    let largest = thousandths
        .iter()
        .map(|milli| milli.abs() / divisor)
        .max()
        .unwrap_or(0);
    let limit = i128::from(MAX_WEIGHT);
    let shrink = (largest + limit - 1) / limit;
    if !all_whole && shrink > 1 {
        warnings.push(
            "spec.backends: the weights are too far apart to be kept exactly; they were rounded".to_owned(),
        );
    }
    let weight = |quantity: Quantity| match quantity.whole() {
        Some(whole) if all_whole => whole,
        _ => i64::try_from(ceil_div(quantity.milli() / divisor, shrink.max(1))).unwrap_or(i64::MAX),
    };
    let values = quantities
        .iter()
        .zip(written)
        .map(|(quantity, written)| {
            quantity.map_or_else(|| (*written).clone(), |quantity| weight(quantity).into())
        })
        .collect();
    Weights { values, warnings }
}

/// Divides, rounding away from zero, so that a small weight never becomes none.
fn ceil_div(value: i128, divisor: i128) -> i128 {
    let rounded = (value.abs() + divisor - 1) / divisor;
    if value < 0 { -rounded } else { rounded }
}

fn gcd(a: i128, b: i128) -> i128 {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn convert(quantities: &[&str]) -> Vec<i64> {
        let written: Vec<Value> = quantities.iter().map(|&text| text.into()).collect();
        let weights = whole_weights(&written.iter().collect::<Vec<_>>());
        weights
            .values
            .iter()
            .map(|value| value.as_i64().expect("is whole"))
            .collect()
    }

    #[test]
    fn whole_quantities_are_copied() {
        assert_eq!(convert(&["90", "10"]), [90, 10]);
        assert_eq!(convert(&["1000m", "1k", "2Ki"]), [1, 1000, 2048]);
    }

    #[test]
    fn one_fraction_turns_all_weights_into_thousandths_without_their_common_divisor() {
        assert_eq!(convert(&["900m", "100m"]), [9, 1]);
        assert_eq!(convert(&["1", "500m"]), [2, 1]);
        assert_eq!(convert(&["0.25", "0", "1"]), [1, 0, 4]);
    }

    #[test]
    fn weights_too_far_apart_are_rounded_but_none_becomes_zero() {
        assert_eq!(convert(&["9E", "1m"]), [i64::from(MAX_WEIGHT), 1]);
    }

    proptest! {
        #[test]
        fn the_ratio_is_kept(thousandths in prop::collection::vec(0_u32..4_000_000, 1..6)) {
            let texts: Vec<_> = thousandths
                .iter()
                .map(|milli| if milli % 1000 == 0 { format!("{}", milli / 1000) } else { format!("{milli}m") })
                .collect();
            let weights = convert(&texts.iter().map(String::as_str).collect::<Vec<_>>());
            for (a, b) in (0..weights.len()).flat_map(|a| (0..weights.len()).map(move |b| (a, b))) {
                let left = i128::from(weights[a]) * i128::from(thousandths[b]);
                let right = i128::from(weights[b]) * i128::from(thousandths[a]);
                prop_assert_eq!(left, right);
            }
        }
    }
}
