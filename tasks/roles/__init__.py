"""The three roles of one base model: prompts, parsers and format checks.

A role file renders prompts and parses texts. It opens no socket, loads no model, and raises on no model output. It has

- `<Role>Template`, a `PromptTemplate` with the variables that its templates may use;
- `prompt(template, ...) -> Prompt`: the prompt with the variables filled in;
- `parse(text) -> ... | Reject`: the usable part of a completion, or the reason why there is none;
- `well_formed(text) -> bool`: whether the completion has exactly the demanded format, for the format reward.

A new role is one such file, its template and trainer in `tasks/config.py` (a default template spares the YAML files a
change), a method in `tasks/players/sampler.py`, and its trained weights in `tasks/players/team.py`.
"""
