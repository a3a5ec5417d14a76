"""What a gateway keeps on its disk: journal, database, and what it may give up."""
