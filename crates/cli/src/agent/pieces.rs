//! Events that are too long for the server, in pieces: what lists much, lists it in several events of
//! its kind, so that none of it is lost.

use serde_json::{Value, json};

/// The event, or events of its kind that have its longest list between them, none longer than this
/// in bytes.
pub(super) fn of(event: Value, longest: usize) -> Vec<Value> {
    let length = event.to_string().len();
    if length <= longest {
        return vec![event];
    }
    let lists = event.as_object().into_iter().flatten();
    let lists = lists.filter_map(|(key, value)| Some((key, value.as_array()?)));
    let lists = lists.filter(|(_, list)| list.len() > 1);
    let largest = lists.max_by_key(|(_, list)| json!(list).to_string().len());
    let Some((key, list)) = largest else {
        return vec![json!({
            "event": "notice", "severity": "warning", "database": event["database"],
            "message": format!("an event of {length} bytes was left out"),
        })];
    };
    let (first, second) = list.split_at(list.len() / 2);
    let with = |list: &[Value]| {
        let mut piece = event.clone();
        piece[key.as_str()] = json!(list);
        of(piece, longest)
    };
    [with(first), with(second)].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_of_a_list_is_lost_and_its_order_stays() {
        let objects: Vec<String> = (0..1000).map(|number| format!("table t{number}")).collect();
        let event = json!({ "event": "finding", "code": 603_110, "objects": objects, "x": ["y"] });
        assert_eq!(of(event.clone(), 1 << 20), std::slice::from_ref(&event));
        let pieces = of(event, 2000);
        assert!(pieces.len() > 1, "{}", pieces.len());
        let mut found = Vec::new();
        for piece in &pieces {
            assert!(piece.to_string().len() <= 2000);
            assert_eq!(
                (&piece["event"], &piece["code"]),
                (&json!("finding"), &json!(603_110))
            );
            found.extend(piece["objects"].as_array().unwrap().clone());
        }
        assert_eq!(json!(found), json!(objects));
    }

    #[test]
    fn what_has_no_list_is_said_to_be_left_out() {
        let event = json!({ "event": "x", "database": "d", "text": "y".repeat(3000) });
        let pieces = of(event, 2000);
        assert_eq!((pieces.len(), &pieces[0]["database"]), (1, &json!("d")));
        assert!(pieces[0]["message"].as_str().unwrap().contains("left out"));
    }
}
