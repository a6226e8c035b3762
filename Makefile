# `make help` lists what there is.
.DEFAULT_GOAL := help
SHELL := bash

CLUSTER := e2e/cluster/cluster

.PHONY: help
help: ## this list
	@grep -hE '^[a-z][a-z0-9-]*:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | sort | expand -t 20

.PHONY: images
images: ## static release programs in dist/linux-amd64, images in dist/images
	images/build

.PHONY: cluster-up
cluster-up: ## a real two-node Kubernetes on this machine; prints its kubeconfig
	$(CLUSTER) up

.PHONY: cluster-down
cluster-down: ## ends it and removes everything of it
	$(CLUSTER) down

.PHONY: cluster-status
cluster-status: ## health of every part of it
	$(CLUSTER) status

.PHONY: cluster-load
cluster-load: images ## our images into every node of it
	$(CLUSTER) load dist/images/*.tar
