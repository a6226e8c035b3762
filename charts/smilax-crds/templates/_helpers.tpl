{{- /* Labels of every object of this chart. */ -}}
{{- define "smilax-crds.labels" -}}
app.kubernetes.io/name: smilax-crds
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/part-of: smilax
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{- /* Rules that allow (dict "verbs" ...) on every SMI object. */ -}}
{{- define "smilax-crds.rules" -}}
- apiGroups: [split.smi-spec.io]
  resources: [trafficsplits]
  verbs: [{{ join ", " .verbs }}]
- apiGroups: [access.smi-spec.io]
  resources: [traffictargets, identitybindings]
  verbs: [{{ join ", " .verbs }}]
- apiGroups: [specs.smi-spec.io]
  resources: [httproutegroups, tcproutes, udproutes]
  verbs: [{{ join ", " .verbs }}]
{{- end }}
