//! The results of a call for every choice of its operands' types.

use cel::common::ast::{CallExpr, operators};

use super::attempt::{self, Attempt};
use super::infer::Operand;
use super::{Type, Types};

/// The results of a call for all types that its operands can have.
pub(super) struct Outcomes {
    pub(super) types: Types,
    pub(super) some_fail: bool,
    /// The reason why all choices fail, if it is not the types.
    pub(super) why: Option<String>,
}

/// Tries a call with operands of all types that they can have.
pub(super) fn outcomes(call: &CallExpr, parts: &[Operand<'_>]) -> Outcomes {
    let mut outcomes = Outcomes {
        types: Types::none(),
        some_fail: false,
        why: None,
    };
    let alternatives: Vec<_> = parts
        .iter()
        .map(|part| &part.types.alternatives[..])
        .collect();
    for alternative in products(&alternatives) {
        let mut given = Vec::new();
        let mut is_possible = false;
        let types: Vec<_> = alternative.into_iter().map(Vec::as_slice).collect();
        for types in products(&types) {
            match outcome(call, parts, &types) {
                Attempt::Gives(of) if given.contains(&of) => {}
                Attempt::Gives(of) => given.push(of),
                Attempt::WrongValues(_) => is_possible = true,
                Attempt::WrongConstant(why) => outcomes.why = Some(why),
                Attempt::WrongTypes => {}
            }
        }
        if is_possible {
            outcomes.types.is_unknown = true;
        } else if given.is_empty() {
            outcomes.some_fail = true;
        } else {
            outcomes.types.add(given);
        }
    }
    outcomes
}

/// Returns the best result of a call with operands of these types.
fn outcome(call: &CallExpr, parts: &[Operand<'_>], types: &[&Type]) -> Attempt {
    if let (operators::ADD, [Type::List(left), Type::List(right)]) =
        (call.func_name.as_str(), types)
    {
        let mut items = Types::clone(left);
        items.join(Types::clone(right));
        return Attempt::Gives(Type::List(Box::new(items)));
    }
    let value = |(part, of): (&Operand<'_>, &&Type)| {
        if part.is_constant {
            vec![part.of.clone()]
        } else {
            attempt::samples(of)
        }
    };
    let values: Vec<_> = parts.iter().zip(types).map(value).collect();
    let values: Vec<_> = values.iter().map(Vec::as_slice).collect();
    let mut best = Attempt::WrongTypes;
    for operands in products(&values) {
        let operands: Vec<_> = operands.into_iter().cloned().collect();
        best = better(best, attempt::call(call, &operands));
        if matches!(best, Attempt::Gives(_)) {
            break;
        }
    }
    best
}

/// Returns the more informative of two attempts with values of the same types.
fn better(one: Attempt, other: Attempt) -> Attempt {
    let rank = |of: &Attempt| match of {
        Attempt::Gives(_) => 3,
        Attempt::WrongValues(_) => 2,
        Attempt::WrongConstant(_) => 1,
        Attempt::WrongTypes => 0,
    };
    if rank(&other) > rank(&one) {
        other
    } else {
        one
    }
}

/// Returns every choice of one item from each list.
fn products<'t, T>(lists: &[&'t [T]]) -> Vec<Vec<&'t T>> {
    let mut chosen = vec![Vec::new()];
    for list in lists {
        let with = |before: &Vec<&'t T>| -> Vec<Vec<&'t T>> {
            let and = |item| before.iter().copied().chain([item]).collect();
            list.iter().map(and).collect()
        };
        chosen = chosen.iter().flat_map(with).collect();
    }
    chosen
}
