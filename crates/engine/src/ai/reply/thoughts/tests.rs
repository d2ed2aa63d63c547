use proptest::prelude::*;

use super::*;

#[track_caller]
fn answer(text: &str, want: &str) {
    assert_eq!(
        without_thoughts(text),
        Spoken::Answer(want.into()),
        "{text}"
    );
}

#[track_caller]
fn kept(text: &str) {
    let got = without_thoughts(text);
    assert!(
        matches!(got, Spoken::Answer(Cow::Borrowed(same)) if same == text),
        "{text}: {got:?}"
    );
}

#[test]
fn thoughts_before_the_answer_are_cut() {
    for text in [
        "<think>\nAsk v-17? No, too dear.\n</think>\n\nAsk v-18.",
        "<think>hm</think>Ask v-18.",
        "\n <think>\n</think>\nAsk v-18.\n",
        "<think></think>Ask v-18.",
        "<think/>Ask v-18.",
        "<THINK>hm</THINK> Ask v-18.",
        "< think >hm< / think >Ask v-18.",
        "<think type=\"deep\" budget='3'>hm</think>Ask v-18.",
        "<thinking>hm</thinking>Ask v-18.",
        "<Thinking>hm</thinking>\nAsk v-18.",
        "<reasoning>\nhm\n</reasoning>\nAsk v-18.",
        "<thought>hm</thought>Ask v-18.",
        "<think>hm</thinking>Ask v-18.",
        "<seed:think>hm</seed:think>Ask v-18.",
        "◁think▷hm◁/think▷Ask v-18.",
        "[THINK]hm[/THINK]Ask v-18.",
        "<|START_THINKING|>hm<|END_THINKING|><|START_RESPONSE|>Ask v-18.<|END_RESPONSE|>",
        "<|begin_of_thought|>hm<|end_of_thought|>\n<|begin_of_solution|>\nAsk v-18.\n<|end_of_solution|>",
        "&lt;think&gt;hm&lt;/think&gt;Ask v-18.",
        "<think>hm</think>\n<answer>\nAsk v-18.\n</answer>",
        "<think>hm</think>\n<response>Ask v-18.",
        "<think>one</think>\n<think>two</think>Ask v-18.",
        "<think>a <think> tag? No.</think>Ask v-18.",
        "<think>a <think> tag</think>? No.\n</think>\nAsk v-18.",
        "<think>Shall I write `</think>`? No.\n</think>\nAsk v-18.",
        "<think>\n```\ncode</think>Ask v-18.",
        "Here is my thought process:\nhm\nHere is my response:\nAsk v-18.",
    ] {
        answer(text, "Ask v-18.");
    }
}

#[test]
fn a_closing_tag_alone_ends_thoughts_that_began_in_the_prompt() {
    for text in [
        "Ask v-17? No, too dear.\n</think>\n\nAsk v-18.",
        "Ask v-17? No, too dear.</think>Ask v-18.",
        "Ask v-17? \"No\"</think>Ask v-18.",
        "hm </think> Ask v-18.",
        "</think>Ask v-18.",
        "Ask v-17?</THINKING>Ask v-18.",
        "one</think>two</think>Ask v-18.",
        "It's dear, isn't it?\n[/THINK]Ask v-18.",
        "hm<|END_THINKING|>Ask v-18.",
    ] {
        answer(text, "Ask v-18.");
    }
    answer("He said \"no\"</think>\"Ask v-18.\"", "\"Ask v-18.\"");
}

#[test]
fn thoughts_within_an_answer_are_cut_too() {
    answer(
        "Ask v-18.\n<think>\nOr v-17?\n</think>\nOr wait.",
        "Ask v-18.\n\nOr wait.",
    );
    answer("Gladly!<think>v-17?</think> Ask v-18.", "Gladly! Ask v-18.");
    answer(
        "Gladly! <think> v-17?\nNo.</think> Ask v-18.",
        "Gladly!  Ask v-18.",
    );
    answer("Ask v-18.\n<think>\nGood.\n</think>", "Ask v-18.");
}

#[test]
fn a_reply_of_nothing_but_thoughts_is_no_answer() {
    for text in [
        "<think>\nThe couple asks about florists.\n</think>\n",
        "The couple asks about florists.\n</think>\n \n",
        "<think></think>",
        "<think/>",
        "<think>hm</think><answer> </answer>",
        "<|channel|>analysis<|message|>hm<|end|>",
    ] {
        assert_eq!(without_thoughts(text), Spoken::Nothing, "{text}");
    }
}

#[test]
fn thoughts_that_never_close_are_unfinished() {
    for text in [
        "<think>\nThe couple asks about florists. Hmm, so",
        "<think>",
        " <Thinking mode=1>hm",
        "Ask v-18.\n<think>\nOr perhaps",
        "<think>one</think>\n<think>two",
        "[THINK]hm",
        "<|channel|>analysis<|message|>The couple asks",
        "analysisThe couple asks about florists.",
        "Here's my thought process: florists",
    ] {
        assert_eq!(without_thoughts(text), Spoken::Unfinished, "{text}");
    }
}

#[test]
fn tags_that_an_answer_speaks_of_stay() {
    for text in [
        "Write `<think>` on the card.",
        "Write `</think>` on the card.",
        "`<think>` is what you write.",
        "Write \"<think>\" and '</think>' on it.",
        "Write “<think>” or «</think>».",
        "Write `a <think> b </think>` on it.",
        "Write <think> on the card.",
        "Write <think>love</think> in between."
            .replace("<think>love", "<think> love")
            .as_str(),
        "On the card:\n```\n<think>\nlove\n</think>\n```\nThat is all.",
        "I [think] so.",
        "A <thinker> and <b>bold</b> <i>text</i>, 3 < 4 > 2.",
        "Use `<|channel|>final` here.",
        "analysis of prices: fine",
        "<answer>Ask v-18.</answer>",
        "Ask v-18.",
        "",
        " \n",
    ] {
        kept(text);
    }
    answer(
        "<think>hm</think>Write `<think>` on the card.",
        "Write `<think>` on the card.",
    );
    answer(
        "hm</think>\nWrite `</think>` on the card.",
        "Write `</think>` on the card.",
    );
}

#[test]
fn of_channels_only_the_final_one_is_the_answer() {
    let analysis = "<|channel|>analysis<|message|>v-17? No.<|end|>";
    for text in [
        format!("{analysis}<|start|>assistant<|channel|>final<|message|>Ask v-18.<|return|>"),
        format!(
            "<|start|>assistant{analysis}<|start|>assistant<|channel|>final<|message|>Ask v-18."
        ),
        format!(
            "{analysis}<|channel|>commentary<|message|>x<|end|><|channel|>final <|constrain|>json<|message|>Ask v-18."
        ),
        "analysis<|message|>v-17?<|end|><|start|>assistant<|channel|>final<|message|>Ask v-18."
            .to_owned(),
        "analysisWe think of v-17.assistantfinalAsk v-18.".to_owned(),
    ] {
        answer(&text, "Ask v-18.");
    }
}

proptest! {
    #[test]
    fn text_without_tags_is_not_touched(text in "[^<\\[&◁]*") {
        prop_assume!(!text.trim_start().starts_with("analysis") && !text.trim_start().to_lowercase().starts_with("here"));
        let got = without_thoughts(&text);
        prop_assert!(matches!(got, Spoken::Answer(Cow::Borrowed(same)) if same == text));
    }

    #[test]
    fn no_text_is_too_odd(text in any::<String>()) {
        without_thoughts(&text);
    }

    /// Combines the pieces that decide, so that every path is taken.
    #[test]
    fn a_thought_is_never_spoken(pieces in prop::collection::vec(
        prop::sample::select(vec!["<think>", "</think>", "\n", " ", "`", "\"", "```\n", "x", "<answer>", "</answer>", "[/THINK]"]), 0..20,
    )) {
        let text = format!("<think>SECRET{}</think>\nspoken", pieces.concat().replace('`', ""));
        if let Spoken::Answer(answer) = without_thoughts(&text) {
            prop_assert!(!answer.contains("SECRET"), "{}", answer);
        }
        without_thoughts(&pieces.concat());
    }

    #[test]
    fn the_answer_behind_plain_thoughts_is_whole(thought in "[a-z \n]*", answer in "[A-Za-z0-9 .,\n]*[a-z]") {
        let text = format!("<think>{thought}</think>{answer}");
        prop_assert_eq!(without_thoughts(&text), Spoken::Answer(answer.trim().into()));
    }
}
