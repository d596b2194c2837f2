"""The stack of a trial: its servers, processes, network and clocks, each made to be broken."""
