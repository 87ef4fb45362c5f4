"""Model families, one file each, behind the protocol of `trainer.backbones.protocol`."""
