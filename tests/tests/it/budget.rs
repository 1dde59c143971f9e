//! The budget of a checkout, held against the calls that are really made. The same counts as `cargo run --bin cost` prints.

use stepwell_tests::cost::{Budget, Cost, IN_SEQUENCE, INDEX_WRITES, Shape, measure};
use test_case::test_case;

#[test_case(Shape::Checkout("success"); "as in the readme")]
#[test_case(Shape::KeyedCheckout("success"); "with an idempotency key")]
#[test_case(Shape::Checkout("everything"); "with every field there is")]
#[tokio::test]
async fn a_checkout_stays_within_its_budget(shape: Shape) {
    let (Shape::Checkout(request) | Shape::KeyedCheckout(request)) = shape else { panic!("a checkout: {shape:?}") };
    let (budget, cost) = (Budget::of_checkout(request), measure(shape).await);
    assert!(cost.units.table_writes > 0.0 && cost.units.reads > 0.0, "the stack reports what was used: {cost:?}");
    assert!(cost.units.table_writes <= budget.table_writes, "{cost:?}");
    assert!(cost.units.index_writes <= budget.index_writes, "{cost:?}");
    assert!(cost.units.reads <= budget.reads, "{cost:?}");
    assert_eq!(cost.sends(), budget.sends, "{cost:?}");
    assert_eq!(cost.sqs.len(), 1, "sends and nothing else: {cost:?}");
    assert!(cost.longest_sequence() <= budget.in_sequence, "{cost:?}");
}

/// The steps' own writes, without those of the task's item, which grows with the plan.
fn step_writes(cost: &Cost) -> usize {
    cost.dynamodb["UpdateItem"] - 1
}

#[tokio::test]
async fn a_step_costs_the_same_in_a_chain_of_any_length() {
    let mut per_step = Vec::new();
    for steps in [5, 20, 100] {
        let cost = measure(Shape::Chain(steps)).await;
        assert_eq!(step_writes(&cost), 2 * steps, "a claim and a completion: {cost:?}");
        assert_eq!(cost.sends(), steps, "{cost:?}");
        assert_eq!(cost.dynamodb["BatchGetItem"], steps, "{cost:?}");
        assert!(cost.units.index_writes <= INDEX_WRITES, "{cost:?}");
        assert!(cost.longest_sequence() <= IN_SEQUENCE, "{cost:?}");
        per_step.push(cost.units.table_writes / f64::from(u8::try_from(steps).unwrap()));
    }
    assert!(per_step.is_sorted_by(|shorter, longer| shorter >= longer), "write units per step: {per_step:?}");
}

#[tokio::test]
async fn a_join_adds_one_write_for_each_edge_into_it() {
    let cost = measure(Shape::Fan(20)).await;
    assert_eq!((cost.steps, cost.joining_edges, cost.sends()), (22, 20, 22), "{cost:?}");
    assert_eq!(step_writes(&cost), 2 * 22 + 20, "{cost:?}");
    assert!(cost.longest_sequence() <= IN_SEQUENCE + 1, "an arrival comes before the send: {cost:?}");
}
