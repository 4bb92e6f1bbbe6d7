import torch

from linnaeus.nn.input import FromBytes


def test_bytes_become_normalised_numbers():
    pictures = torch.arange(2 * 4 * 5 * 3, dtype=torch.uint8).reshape(2, 4, 5, 3)
    got = FromBytes((0.1, 0.2, 0.3), (0.5, 0.6, 0.7))(pictures)
    mean, std = torch.tensor([0.1, 0.2, 0.3]), torch.tensor([0.5, 0.6, 0.7])
    expected = ((pictures.double() / 255 - mean) / std).permute(0, 3, 1, 2)
    torch.testing.assert_close(got.double(), expected, rtol=0, atol=1e-6)


def test_the_result_lies_channels_last_in_memory():
    got = FromBytes((0.5,) * 3, (0.5,) * 3)(torch.zeros(2, 8, 8, 3, dtype=torch.uint8))
    assert got.is_contiguous(memory_format=torch.channels_last)


def test_black_and_white_are_the_ends_of_the_usual_scale():
    pictures = torch.tensor([0, 255], dtype=torch.uint8).reshape(2, 1, 1, 1)
    assert FromBytes((0.5,), (0.5,))(pictures).flatten().tolist() == [-1, 1]


def test_it_has_no_weights_of_its_own():
    assert FromBytes((0.5,), (0.5,)).state_dict() == {}
