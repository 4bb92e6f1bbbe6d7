import json

import numpy as np
import pytest
from scipy.stats import entropy

from linnaeus.records import Dataset, Example, Place
from linnaeus.verbs.audit.balance import fewest_tested, find_imbalance


def dataset_of(counts, group=lambda label, n: "", multilabel=False):
    examples = [
        Example(f"{label}/{n}.png", Place("none"), label, group=group(label, n))
        for label, count in counts.items()
        for n in range(count)
    ]
    names = dict.fromkeys(part for label in counts for part in label.split("|"))
    return Dataset("made", "made", tuple(examples), tuple(names), multilabel=multilabel)


def kinds(balance):
    return [(one.kind, one.severity) for one in balance.findings]


def test_equal_classes_give_their_number_and_no_finding():
    balance = find_imbalance(dataset_of({"a": 200, "b": 200, "c": 200}))
    assert balance.document() == {
        "classes": {"a": 200, "b": 200, "c": 200}, "effective": pytest.approx(3.0), "ratio": 1.0,
    }  # fmt: skip
    assert balance.findings == ()


def test_the_effective_number_is_exp_of_the_entropy_of_scipy():
    counts = {"a": 900, "b": 90, "c": 10}
    assert find_imbalance(dataset_of(counts)).effective == pytest.approx(np.exp(entropy(list(counts.values()))))


@pytest.mark.parametrize(("small", "severity"), [(700, None), (500, "note"), (100, "warning")])
def test_an_imbalance_is_told_by_its_size(small, severity):
    balance = find_imbalance(dataset_of({"a": 2000, "b": small}))
    assert [one.severity for one in balance.findings if one.kind == "imbalance"] == ([severity] if severity else [])


def test_an_imbalance_names_the_largest_and_the_smallest_class():
    (finding,) = find_imbalance(dataset_of({"a": 2000, "b": 400, "c": 900})).findings
    assert finding.ids == ("a", "b")
    assert "5 times fewer" in finding.evidence


def test_a_class_with_few_test_pictures_is_told_with_the_width_of_its_score():
    balance = find_imbalance(dataset_of({"a": 500, "b": 500, "c": 60, "d": 20}))
    few = {one.ids: one for one in balance.findings if one.kind == "few test pictures"}
    assert {ids: one.severity for ids, one in few.items()} == {("d",): "warning", ("c",): "note"}
    assert "about 9 of them tested: recall known to +-" in few["c",].evidence


def test_the_pictures_of_a_given_split_are_counted():
    dataset = dataset_of({"a": 100, "b": 100})
    parts = np.array(["test" if n < 50 or n >= 197 else "train" for n in range(200)])
    (finding,) = find_imbalance(dataset, parts=parts).findings
    assert (finding.kind, finding.ids, finding.severity) == ("few test pictures", ("b",), "warning")


def test_so_many_test_pictures_and_no_fewer_make_the_interval_narrow_enough():
    from scipy.stats import norm

    def half_width(n, q=0.9):
        z = norm.ppf(0.975)
        return z / (1 + z * z / n) * np.sqrt(q * (1 - q) / n + z * z / (4 * n * n))

    n = fewest_tested()
    assert half_width(n) <= 0.15 < half_width(n - 1)


def test_a_group_that_is_nearly_a_whole_class_is_a_warning():
    balance = find_imbalance(
        dataset_of({"a": 200, "b": 200}, lambda label, n: "x" if (label, n >= 10) == ("b", True) else "")
    )
    finding = next(one for one in balance.findings if one.kind == "group is a class")
    assert len(finding.ids) == 190
    assert "'x' holds 190 of the 200 pictures of class 'b'" in finding.evidence


def test_a_group_of_one_class_among_mixed_ones_is_a_warning():
    balance = find_imbalance(
        dataset_of({"a": 200, "b": 200}, lambda label, n: "odd" if label == "a" and n < 40 else f"g{n % 8}")
    )
    (finding,) = balance.findings
    assert (finding.kind, finding.severity, len(finding.ids)) == ("groups of one class", "warning", 40)


def test_patients_with_one_diagnosis_each_are_a_note():
    balance = find_imbalance(dataset_of({"a": 200, "b": 200}, lambda label, n: f"{label}{n // 10}"))
    assert kinds(balance) == [("groups of one class", "note")]


def test_mixed_groups_and_small_groups_of_one_class_are_fine():
    assert find_imbalance(dataset_of({"a": 200, "b": 200}, lambda label, n: f"g{n % 10}")).findings == ()
    assert find_imbalance(dataset_of({"a": 200, "b": 200}, lambda label, n: f"{label}{n // 2}")).findings == ()


def test_a_picture_with_two_labels_counts_for_both():
    assert find_imbalance(dataset_of({"a": 50, "a|b": 30}, multilabel=True)).classes == {"a": 80, "b": 30}


def test_an_empty_class_is_counted_and_does_not_make_the_ratio_infinite():
    dataset = Dataset("made", "made", dataset_of({"a": 200}).examples, ("a", "b"))
    balance = find_imbalance(dataset)
    assert (balance.classes, balance.ratio) == ({"a": 200, "b": 0}, 1.0)


def test_nothing_at_all_is_counted_as_nothing():
    balance = find_imbalance(Dataset("none", "none", (), ()))
    assert balance.document() == {"classes": {}, "effective": 0.0, "ratio": 0.0}


def test_a_thousand_classes_take_one_finding_of_each_kind():
    balance = find_imbalance(dataset_of({f"c{k}": 10 + k % 90 for k in range(1000)}))
    assert [one.kind for one in balance.findings] == ["imbalance", "few test pictures", "few test pictures"]
    assert all(len(one.evidence) < 700 for one in balance.findings)
    json.dumps(balance.document())
