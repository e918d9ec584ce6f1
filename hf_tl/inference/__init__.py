from hf_tl.compat import declare_torchvision_operators

declare_torchvision_operators()
