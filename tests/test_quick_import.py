import subprocess
import sys

from linnaeus.nn.quick_import import import_timm


def ran(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()


def test_networks_come_without_the_compiler():
    assert ran("import sys, linnaeus.nn.zoo; print('timm' in sys.modules, 'torch._dynamo' in sys.modules)") == [
        "True",
        "False",
    ]


def test_what_needs_the_compiler_still_finds_it():
    code = """
import linnaeus.nn.zoo, torch, timm
from torchvision.ops import roi_align
print(roi_align(torch.ones(1, 1, 4, 4), torch.tensor([[0.0, 0, 0, 4, 4]]), 2).shape)
print(torch.compiler.disable(lambda: 7)(), torch.compiler.disable.__module__)
network = timm.create_model("naflexvit_base_patch16_gap", embed_dim=48, depth=1, num_heads=3, num_classes=3)
print(network(torch.zeros(1, 3, 32, 32)).shape)
import torch._dynamo.utils
print(torch._dynamo.utils.is_compile_supported("cpu"))
"""
    said = " ".join(ran(code))
    assert said == "torch.Size([1, 1, 2, 2]) 7 torch.compiler torch.Size([1, 3]) True"


def test_importing_twice_does_no_harm():
    import_timm()
