import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from linnaeus.errors import SettingsError
from linnaeus.learn.distill import Teacher, distilled, lesson_of, same_classes
from linnaeus.learn.objectives import Batch, Loss, supervised
from linnaeus.learn.pieces import Pieces
from linnaeus.records import Preprocessing


def network(seed=0, channels=3, K=4):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv2d(channels, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, K))


def batch(labels=(0, 1, 2, 3, 0, 1), **more):
    draw = torch.Generator().manual_seed(1)
    return Batch(torch.rand(len(labels), 3, 8, 8, generator=draw), torch.tensor(labels), **more)


def how(size_px=8, mean=(0.5, 0.5, 0.5), std=(0.2, 0.2, 0.2), channels=3):
    return Preprocessing(size_px, "squash", size_px, "bilinear", (0, 0, 0), channels, mean, std, 10**6)


def teacher(seed=1, seen=None, given=None, columns=range(4), **more):
    return Teacher(network(seed, **more), seen or how(), given or how(), columns)


def test_a_student_that_answers_as_its_teacher_has_nothing_left_to_learn():
    same = distilled(teacher(seed=0), weight=1.0, temperature=3.0)
    assert same(network(0), batch()).loss.item() == pytest.approx(0, abs=1e-6)
    assert same(network(2), batch()).loss.item() > 1e-4


def test_the_loss_is_the_divergence_at_the_temperature_times_its_square():
    wise, student, some = teacher(), network(2), batch()
    p, q = ((net(some.pictures) / 3).softmax(1) for net in (wise, student))
    expected = 9 * (p * (p.log() - q.log())).sum(1).mean()
    torch.testing.assert_close(distilled(wise, temperature=3, weight=1.0)(student, some).loss, expected)


def test_labels_have_the_rest_of_the_weight():
    wise, student, some = teacher(), network(2), batch()
    alone = distilled(wise, Loss(label_smoothing=0.1), weight=1.0)(student, some).loss
    hard = supervised(Loss(label_smoothing=0.1))(student, some).loss
    both = distilled(wise, Loss(label_smoothing=0.1), weight=0.7)(student, some).loss
    torch.testing.assert_close(both, 0.7 * alone + 0.3 * hard)


def test_a_picture_without_a_label_is_learned_from_the_teacher_alone():
    student = network(2)
    changed = [distilled(teacher(), weight=0.5)(student, batch((0, 1, -1))).loss for _ in range(2)]
    p, q = (net(batch((0, 1, -1)).pictures).softmax(1) for net in (teacher(), student))
    soft = (p * (p.log() - q.log())).sum() / 3
    hard = functional.cross_entropy(q[:2].log(), torch.tensor([0, 1]), reduction="sum") / 3
    torch.testing.assert_close(changed[0], 0.5 * soft + 0.5 * hard)


def test_a_batch_without_any_label_can_be_learned_from():
    student = network(2)
    distilled(teacher(), weight=0.5)(student, batch((-1, -1))).loss.backward()
    assert all(torch.isfinite(one.grad).all() for one in student.parameters())


def test_an_unlabelled_picture_is_right_where_it_is_named_as_the_teacher_names_it():
    assert distilled(teacher(seed=0))(network(0), batch((-1, -1, -1))).right == 3


def test_the_teacher_sees_the_pictures_as_they_were_mixed():
    seen = []
    wise = teacher()
    wise.register_forward_hook(lambda _layer, inputs, _output: seen.append(inputs[0]))
    student = network(2)
    student.register_forward_hook(lambda _layer, inputs, _output: seen.append(inputs[0]))
    distilled(wise, mixup=1.0)(student, batch())
    assert seen[0] is seen[1]
    assert not torch.equal(seen[0], batch().pictures)


def test_answers_that_a_batch_brings_along_are_taken_instead_of_the_teacher():
    some = batch()
    given = distilled(None)(network(2), batch(taught=teacher()(some.pictures))).loss
    torch.testing.assert_close(given, distilled(teacher())(network(2), some).loss)


def test_a_batch_in_pieces_has_the_gradient_of_the_whole():
    student, some = network(2), batch((0, -1, 2, 3, -1), taught=torch.randn(5, 4))
    objective = distilled(None, Loss(class_weights=torch.tensor([1.0, 2.0, 3.0, 4.0])), weight=0.5)
    objective(student, some).loss.backward()
    whole = [one.grad.clone() for one in student.parameters()]
    pieces = Pieces(student, 2)
    pieces(objective, some, lambda: torch.autocast("cpu", enabled=False))
    pieces.close()
    for parameter, expected in zip(student.parameters(), whole, strict=True):
        torch.testing.assert_close(parameter.grad, expected)


def test_a_teacher_never_learns():
    wise = teacher().train()
    assert not wise.network.training
    assert not any(one.requires_grad for one in wise.parameters())


def test_a_teacher_of_another_size_and_normalisation_sees_the_same_picture():
    bright = torch.full((2, 3, 8, 8), 0.7)
    seen, given = how(16, (0.1, 0.2, 0.3), (0.4, 0.5, 0.6)), how(8)
    wise = teacher(seen=seen, given=given)
    x = [
        (torch.full((2, 3, 16, 16), 0.7) - torch.tensor(seen.mean).view(1, 3, 1, 1))
        / torch.tensor(seen.std).view(1, 3, 1, 1)
    ]
    torch.testing.assert_close(wise((bright - 0.5) / 0.2), wise.network(x[0]))


@pytest.mark.parametrize(("of_teacher", "of_student"), [(1, 3), (3, 1)])
def test_teacher_and_student_may_differ_in_colour(of_teacher, of_student):
    hows = [how(mean=(0.5,) * n, std=(0.2,) * n, channels=n) for n in (of_teacher, of_student)]
    wise = teacher(channels=of_teacher, seen=hows[0], given=hows[1])
    grey = torch.rand(2, 1, 8, 8)
    expected = wise.network(grey.expand(-1, of_teacher, -1, -1))
    torch.testing.assert_close(wise(grey.expand(-1, of_student, -1, -1)), expected)


def test_the_teachers_classes_are_brought_into_the_students_order():
    columns = same_classes(("b", "c", "a"), ("a", "b", "c"), "RUN")
    wise = teacher(K=3, columns=columns)
    pictures = batch().pictures
    assert torch.equal(wise(pictures), wise.network(pictures)[:, [2, 0, 1]])


def test_a_teacher_of_other_classes_is_refused_by_name():
    with pytest.raises(SettingsError, match="cat"):
        same_classes(("dog", "cow"), ("dog", "cat"), "RUN")


def test_a_lesson_is_another_with_another_teacher_or_other_pictures():
    lessons = {lesson_of(teacher(seed), hashes) for seed in (1, 2) for hashes in (["a"], ["a", "b"])}
    assert len(lessons) == 4
    assert lesson_of(teacher(1), ["a"]) in lessons


def test_a_student_learns_what_only_the_teacher_knows():
    wise, student = teacher(), network(2)
    some = batch((-1,) * 32)
    optimizer = torch.optim.Adam(student.parameters(), 0.02)
    objective = distilled(wise, weight=1.0)
    first = objective(student, some).loss.item()
    for _ in range(150):
        optimizer.zero_grad()
        objective(student, some).loss.backward()
        optimizer.step()
    assert objective(student, some).loss.item() < 0.1 * first
    assert np.mean((student(some.pictures).argmax(1) == wise(some.pictures).argmax(1)).numpy()) > 0.9
