# dev.py does the work and needs only the standard library: `python3 dev.py COMMAND` is the same without make.
PYTHON ?= python3
COMMANDS := run demo demo-payments test fuzz check cuts coverage bench bench-quick simulate soak screenshots compiled format lock clean help
export CONFIG ARGS SECONDS SEED

.DEFAULT_GOAL := help
.PHONY: $(COMMANDS)
$(COMMANDS):
	@$(PYTHON) dev.py $@
