//! From conditions and changes to DynamoDB's expressions.

use super::value::{AttributeItem, attribute_value};
use crate::core::transition::{Change, Condition};
use aws_sdk_dynamodb::types::AttributeValue;
use std::collections::HashMap;

/// The names and the values behind the `#name` and `:value` of some expressions. DynamoDB refuses both a missing and an
/// unused one, and an empty map.
#[derive(Debug, Default)]
pub(super) struct Placeholders {
    names: HashMap<String, String>,
    values: AttributeItem,
}

impl Placeholders {
    pub(super) fn names(&self) -> Option<HashMap<String, String>> {
        (!self.names.is_empty()).then(|| self.names.clone())
    }

    pub(super) fn into_values(self) -> Option<AttributeItem> {
        (!self.values.is_empty()).then_some(self.values)
    }

    fn name(&mut self, attribute: &str) -> String {
        let name = format!("#{attribute}");
        self.names.insert(name.clone(), attribute.to_owned());
        name
    }

    fn value(&mut self, value: AttributeValue) -> String {
        let name = format!(":{}", self.values.len());
        self.values.insert(name.clone(), value);
        name
    }

    /// `attribute operator value`.
    fn compare(&mut self, attribute: &str, operator: &str, value: AttributeValue) -> String {
        format!("{} {operator} {}", self.name(attribute), self.value(value))
    }

    /// The condition as an expression; `None` where it always holds.
    pub(super) fn condition(&mut self, condition: &Condition) -> Option<String> {
        Some(match condition {
            // Every item has a partition key.
            Condition::NoItem => format!("attribute_not_exists({})", self.name("pk")),
            Condition::Absent(name) => format!("attribute_not_exists({})", self.name(name)),
            Condition::Present(name) => format!("attribute_exists({})", self.name(name)),
            Condition::Is(name, value) => self.compare(name, "=", attribute_value(name, value)),
            Condition::AtMost(name, most) => self.compare(name, "<=", AttributeValue::N(most.to_string())),
            Condition::Below(name, bound) => self.compare(name, "<", AttributeValue::N(bound.to_string())),
            Condition::Contains(name, entry) => {
                format!("contains({}, {})", self.name(name), self.value(attribute_value(name, entry)))
            }
            Condition::All(conditions) => return self.join(conditions, " AND "),
            Condition::Any(conditions) => return self.join(conditions, " OR "),
        })
    }

    /// DynamoDB refuses parentheses that change nothing, so only what has several parts gets them.
    fn join(&mut self, conditions: &[Condition], operator: &str) -> Option<String> {
        let several = |condition: &Condition| match condition {
            Condition::All(parts) | Condition::Any(parts) => parts.len() > 1,
            _ => false,
        };
        let alone = conditions.len() == 1;
        let parts = conditions.iter().filter_map(|condition| {
            let text = self.condition(condition)?;
            Some(if several(condition) && !alone { format!("({text})") } else { text })
        });
        let parts: Vec<String> = parts.collect();
        (!parts.is_empty()).then(|| parts.join(operator))
    }

    /// The changes as an update expression.
    pub(super) fn update(&mut self, changes: &[Change]) -> String {
        let (mut set, mut remove, mut add, mut delete) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for change in changes {
            let attribute = change.attribute();
            let name = self.name(attribute);
            match change {
                Change::Set(_, value) => {
                    set.push(format!("{name} = {}", self.value(attribute_value(attribute, value))));
                }
                Change::SetIfAbsent(_, value) => {
                    let value = self.value(attribute_value(attribute, value));
                    set.push(format!("{name} = if_not_exists({name}, {value})"));
                }
                Change::Append(_, entry) => {
                    let none = self.value(AttributeValue::L(Vec::new()));
                    let entry = self.value(AttributeValue::L(vec![attribute_value(attribute, entry)]));
                    set.push(format!("{name} = list_append(if_not_exists({name}, {none}), {entry})"));
                }
                Change::Remove(_) => remove.push(name),
                Change::Add(_, more) => add.push(format!("{name} {}", self.value(AttributeValue::N(more.to_string())))),
                Change::Include(_, member) => {
                    add.push(format!("{name} {}", self.value(AttributeValue::Ss(vec![member.clone()]))));
                }
                Change::Exclude(_, members) => {
                    let members = AttributeValue::Ss(members.iter().cloned().collect());
                    delete.push(format!("{name} {}", self.value(members)));
                }
            }
        }
        let clauses = [("SET ", set), ("REMOVE ", remove), ("ADD ", add), ("DELETE ", delete)];
        let clauses = clauses.into_iter().filter(|(_, parts)| !parts.is_empty());
        clauses.map(|(verb, parts)| format!("{verb}{}", parts.join(", "))).collect::<Vec<_>>().join(" ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn text(condition: &Condition) -> Option<String> {
        Placeholders::default().condition(condition)
    }

    #[test]
    fn conditions_have_parentheses_only_where_they_mean_something() {
        let a = || Condition::Absent("a");
        let b = || Condition::Is("b", json!(1));
        assert_eq!(text(&Condition::ALWAYS), None);
        assert_eq!(text(&a()).unwrap(), "attribute_not_exists(#a)");
        let either = || Condition::Any(vec![a(), b()]);
        assert_eq!(text(&either()).unwrap(), "attribute_not_exists(#a) OR #b = :0");
        assert_eq!(text(&Condition::All(vec![either()])).unwrap(), "attribute_not_exists(#a) OR #b = :0");
        let one = Condition::Any(vec![Condition::All(vec![b()]), a()]);
        assert_eq!(text(&one).unwrap(), "#b = :0 OR attribute_not_exists(#a)");
        let both = Condition::All(vec![either(), Condition::AtMost("c", 7)]);
        assert_eq!(text(&both).unwrap(), "(attribute_not_exists(#a) OR #b = :0) AND #c <= :1");
    }

    #[test]
    fn each_kind_of_change_has_its_clause() {
        let changes = [
            Change::Set("a", json!("x")),
            Change::Remove("b"),
            Change::SetIfAbsent("c", json!(0)),
            Change::Append("d", json!({"e": 1})),
            Change::Add("f", 1),
            Change::Include("done_deps", "s".to_owned()),
            Change::Exclude("failed_steps", ["t".to_owned()].into()),
        ];
        let mut placeholders = Placeholders::default();
        assert_eq!(
            placeholders.update(&changes),
            "SET #a = :0, #c = if_not_exists(#c, :1), #d = list_append(if_not_exists(#d, :2), :3) REMOVE #b \
             ADD #f :4, #done_deps :5 DELETE #failed_steps :6"
        );
        assert_eq!(placeholders.names().unwrap().len(), 7);
        let values = placeholders.into_values().unwrap();
        assert_eq!(values[":3"].as_l().unwrap()[0].as_m().unwrap()["e"], AttributeValue::N("1".to_owned()));
        assert_eq!(values[":6"], AttributeValue::Ss(vec!["t".to_owned()]));
        assert_eq!(values.len(), 7);
    }
}
