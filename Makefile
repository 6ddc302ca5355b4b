SHELL := bash
PYTHON ?= python3
VENV := .venv
INSTALLED := $(VENV)/.installed
PIP := $(VENV)/bin/python -m pip --disable-pip-version-check --quiet
UV := $(VENV)/bin/uv pip --quiet
RUN := PATH="$(CURDIR)/$(VENV)/bin:$$PATH"
# One process a core; what takes longest is one chain of runs, which more of them make no shorter.
PYTEST := pytest --numprocesses logical --maxprocesses 4 --dist worksteal

# Git's hooks set these, for another repository than the one that this is.
unexport GIT_DIR GIT_WORK_TREE GIT_INDEX_FILE

.DEFAULT_GOAL := help
.PHONY: help clone environment reproduce retrain audit publish check test test-browser test-cluster test-gpu lint lock \
    format

help: ## List the commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-13s %s\n", $$1, $$2}' Makefile

environment: $(INSTALLED) ## Install everything into .venv, as requirements.lock says

reproduce: $(INSTALLED) ## Run the main job with the shipped checkpoints: data, sampling, metrics, report
	@$(RUN) nonrobust-guidance restore-checkpoints --config config/default.yaml
	@$(RUN) snakemake
	@echo "The report is results/default/report/index.html; open it in a browser."

retrain: $(INSTALLED) ## Run the main job from nothing, all training included
	@$(RUN) snakemake --forceall --config replace=all
	@echo "The report is results/default/report/index.html; open it in a browser."

audit: clone $(INSTALLED) ## Make the published results again in a clone of the last commit, and compare
	@git diff --quiet HEAD || echo "This audits the last commit; what changed since is not in it." >&2
	@rm -rf audit && git clone --quiet . audit
	@cd audit && export PYTHONPATH="$$PWD/src" && $(RUN) && export PATH \
	    && dvc pull && dvc repro && nonrobust-guidance audit --config config/default.yaml

publish: clone $(INSTALLED) ## Record checkpoints and results for Git and DVC, if they are clean
	@git diff --quiet HEAD || { echo "error: the working tree has changes; commit them first" >&2; exit 1; }
	@$(RUN) && export PATH && nonrobust-guidance check-publishable --config config/default.yaml \
	    && dvc commit --force data.dvc && dvc repro && rm -rf shipped/files && dvc push
	@[ "$$(du -sk shipped | cut -f1)" -le 25600 ] || { echo "error: shipped/ holds more than 25 MB" >&2; exit 1; }
	@echo "To publish: git add data.dvc dvc.lock published shipped && git commit; then make audit"

clone:
	@[ -e .git ] && git rev-parse --quiet --verify HEAD >/dev/null || { echo "error: an audit and a publication are of the" \
	    "last commit, and here is none that git can read; call them in a clone of the project, with git installed" >&2; exit 1; }

check: lint ## Check code, and run the tests that need no complete run
	@$(RUN) $(PYTEST) -m "not complete"

test: $(INSTALLED) ## Run all tests
	@$(RUN) $(PYTEST)

test-browser: $(INSTALLED) ## Check the report's pages in headless Chromium (PAGES=results/default/report: that run's)
	@command -v chromium >/dev/null || [ "$$(id -u)" != 0 ] || { apt-get update --quiet --quiet \
	    && apt-get install --quiet --quiet --yes --no-install-recommends chromium; } >&2
	@command -v chromium >/dev/null || { echo "error: the pages are checked in Chromium, which is missing:" \
	    "install Debian's package chromium" >&2; exit 1; }
	@$(RUN) pytest tests/browser $(if $(PAGES),--pages $(PAGES))

test-cluster: $(INSTALLED) ## Run a complete tiny run, and faults, on a real Slurm that is started for it
	@[ "$$(id -u)" = 0 ] || { echo "error: the cluster's tests start Slurm on this machine, for which they need root:" \
	    "call make test-cluster as root, in a container for instance" >&2; exit 1; }
	@command -v munged slurmctld slurmd sbatch | wc -l | grep --quiet 4 || { apt-get update --quiet --quiet \
	    && apt-get install --quiet --quiet --yes --no-install-recommends munge slurmctld slurmd slurm-client; } >&2
	@$(RUN) pytest tests/cluster --verbose --capture no --timeout 1800 \
	    --override-ini tmp_path_retention_policy=none

test-gpu: $(INSTALLED) ## Hold a GPU to the CPU: sampling, scores, training, precision, streams and memory
	@$(RUN) pytest tests/gpu --verbose

lint: $(INSTALLED) ## Check code, workflow, notebooks and types
	@$(RUN) ruff check
	@$(RUN) ruff format --check
	@$(RUN) snakefmt --check Snakefile workflow
	@$(RUN) nbstripout --verify notebooks/*.ipynb
	@$(RUN) mypy
	@$(RUN) snakemake --lint --quiet

lock: $(INSTALLED) ## Pin in requirements.lock what pyproject.toml asks for (UPGRADE=--upgrade: in its latest versions)
	@$(RUN) UV_CUSTOM_COMPILE_COMMAND="make lock" uv pip compile --quiet $(UPGRADE) --universal --python-version 3.11 \
	    --generate-hashes --all-extras --output-file requirements.lock pyproject.toml

format: $(INSTALLED) ## Format code, workflow and notebooks
	@$(RUN) ruff check --fix
	@$(RUN) ruff format
	@$(RUN) snakefmt Snakefile workflow
	@$(RUN) nbstripout notebooks/*.ipynb

$(INSTALLED): requirements.lock pyproject.toml
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11) and "error: " + sys.argv[1] + " is Python " \
	    + sys.version.split()[0] + ", but 3.11 or later is needed; name one with make PYTHON=...")' "$(PYTHON)"
	@echo "Installing into $(VENV): several GB, some minutes the first time ..."
	@"$(PYTHON)" -m venv $(VENV)
	@sed -n '/^uv==/,/[^\\]$$/p' requirements.lock | $(PIP) install --require-hashes --requirement /dev/stdin
	@$(UV) install --python $(VENV) --require-hashes --requirement requirements.lock
	@$(UV) install --python $(VENV) --no-deps --no-build-isolation --editable .
	@touch $@
