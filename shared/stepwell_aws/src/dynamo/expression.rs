//! Compiles conditions and changes into DynamoDB's expressions.

use super::value::{AttributeItem, PARTITION_KEY, attribute_value};
use aws_sdk_dynamodb::types::AttributeValue;
use std::collections::HashMap;
use stepwell::core::transition::{Change, Condition};

/// The attribute names and values for the placeholders `#name` and `:value` of expressions. DynamoDB refuses a missing
/// and an unused placeholder, and an empty map.
#[derive(Debug, Default)]
pub(super) struct Placeholders {
    names: HashMap<String, String>,
    values: AttributeItem,
}

impl Placeholders {
    /// Returns the maps of names and values, each `None` where it is empty.
    pub(super) fn into_maps(self) -> (Option<HashMap<String, String>>, Option<AttributeItem>) {
        ((!self.names.is_empty()).then_some(self.names), (!self.values.is_empty()).then_some(self.values))
    }

    /// Makes the list of these attributes.
    pub(super) fn names(&mut self, attributes: &[&str]) -> String {
        let names: Vec<String> = attributes.iter().map(|attribute| self.name(attribute)).collect();
        names.join(", ")
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

    /// Makes `attribute operator value`.
    fn compare(&mut self, attribute: &str, operator: &str, value: AttributeValue) -> String {
        format!("{} {operator} {}", self.name(attribute), self.value(value))
    }

    /// Combines the conditions into one expression; `None` where they always hold.
    pub(super) fn all<'a>(&mut self, conditions: impl IntoIterator<Item = &'a Condition>) -> Option<String> {
        let parts = conditions.into_iter().filter_map(|condition| self.part(condition)).collect();
        join(parts, " AND ").map(|part| part.text)
    }

    fn part(&mut self, condition: &Condition) -> Option<Part> {
        let text = match condition {
            // Every item has a partition key, so this tests for the item.
            Condition::NoItem => format!("attribute_not_exists({})", self.name(PARTITION_KEY)),
            Condition::Absent(name) => format!("attribute_not_exists({})", self.name(name)),
            Condition::Present(name) => format!("attribute_exists({})", self.name(name)),
            Condition::Is(name, value) => self.compare(name, "=", attribute_value(name, value)),
            Condition::AtMost(name, most) => self.compare(name, "<=", AttributeValue::N(most.to_string())),
            Condition::Below(name, bound) => self.compare(name, "<", AttributeValue::N(bound.to_string())),
            Condition::Contains(name, entry) => {
                format!("contains({}, {})", self.name(name), self.value(attribute_value(name, entry)))
            }
            Condition::Lacks(name, entry) => {
                format!("NOT contains({}, {})", self.name(name), self.value(attribute_value(name, entry)))
            }
            Condition::All(conditions) => {
                let parts = conditions.iter().filter_map(|condition| self.part(condition)).collect();
                return join(parts, " AND ");
            }
            Condition::Any(conditions) => {
                let parts: Vec<Option<Part>> = conditions.iter().map(|condition| self.part(condition)).collect();
                // An empty disjunction is false. A part that always holds makes the disjunction true.
                return match parts.is_empty() {
                    true => Some(self.never()),
                    false => join(parts.into_iter().collect::<Option<Vec<_>>>()?, " OR "),
                };
            }
        };
        Some(Part::single(text))
    }

    /// Makes a condition that is always false, with and without an item.
    fn never(&mut self) -> Part {
        let key = self.name(PARTITION_KEY);
        Part { text: format!("attribute_exists({key}) AND attribute_not_exists({key})"), is_compound: true }
    }

    /// Makes the update expression of the changes.
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

/// A part of an expression, and whether it is compound.
struct Part {
    text: String,
    is_compound: bool,
}

impl Part {
    fn single(text: String) -> Self {
        Self { text, is_compound: false }
    }
}

/// Joins parts into one. DynamoDB refuses redundant parentheses, so only compound parts among several get them.
fn join(mut parts: Vec<Part>, operator: &str) -> Option<Part> {
    if parts.len() < 2 {
        return parts.pop();
    }
    let texts = parts.into_iter().map(|part| if part.is_compound { format!("({})", part.text) } else { part.text });
    Some(Part { text: texts.collect::<Vec<_>>().join(operator), is_compound: true })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn text(condition: &Condition) -> Option<String> {
        Placeholders::default().all([condition])
    }

    #[test]
    fn conditions_have_no_redundant_parentheses() {
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
        let wrapped = Condition::All(vec![Condition::Any(vec![either()]), Condition::AtMost("c", 7)]);
        assert_eq!(text(&wrapped), text(&both), "a wrapper around one changes nothing");
    }

    #[test]
    fn empty_disjunction_is_false_and_one_with_a_true_part_is_true() {
        let never = "attribute_exists(#pk) AND attribute_not_exists(#pk)";
        assert_eq!(text(&Condition::Any(vec![])).unwrap(), never);
        let one = Condition::Any(vec![Condition::Any(vec![]), Condition::Absent("a")]);
        assert_eq!(text(&one).unwrap(), format!("({never}) OR attribute_not_exists(#a)"));
        assert_eq!(text(&Condition::Any(vec![Condition::ALWAYS, Condition::Absent("a")])), None);
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
        let (names, values) = placeholders.into_maps();
        assert_eq!(names.unwrap().len(), 7);
        let values = values.unwrap();
        assert_eq!(values[":3"].as_l().unwrap()[0].as_m().unwrap()["e"], AttributeValue::N("1".to_owned()));
        assert_eq!(values[":6"], AttributeValue::Ss(vec!["t".to_owned()]));
        assert_eq!(values.len(), 7);
    }
}
