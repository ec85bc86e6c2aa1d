"""config.yml: schema, file, rules, checks against EC2 and the artifact source."""
