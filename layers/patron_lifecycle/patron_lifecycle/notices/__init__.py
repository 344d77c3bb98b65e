"""Who is told what came of a run: mails to a library's contacts, notices to the operators; each once."""
