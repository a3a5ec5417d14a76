"""Register-level models of the chips that drivers talk to, one module each: what data sheets promise to software."""
