{{- /* Labels of every object of this chart. */ -}}
{{- define "smilax.labels" -}}
{{ include "smilax.selector" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/part-of: smilax
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{- /* What finds the operator's pods. Never changes between versions: a Deployment's selector is immutable. */ -}}
{{- define "smilax.selector" -}}
app.kubernetes.io/name: smilax-operator
{{- end }}

{{- /* Image reference of (dict "image" ... "appVersion" ...). */ -}}
{{- define "smilax.image" -}}
{{- with .image -}}
{{- if .registry }}{{ .registry }}/{{ end }}{{ .repository }}
{{- if .digest }}@{{ .digest }}{{ else }}:{{ .tag | default $.appVersion }}{{ end }}
{{- end -}}
{{- end }}

{{- /* Security context of the containers: what the Pod Security Standard "restricted" asks for, and a read-only root. */ -}}
{{- define "smilax.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end }}

{{- define "smilax.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
seccompProfile:
  type: RuntimeDefault
{{- end }}

{{- /* Namespaces that are never in the mesh. */ -}}
{{- define "smilax.excludedNamespaces" -}}
{{- concat (list "kube-system" "kube-public" "kube-node-lease" .Release.Namespace) .Values.injector.excludedNamespaces | uniq | toJson -}}
{{- end }}

{{- /* The SMI definitions, by name: RBAC names them one by one. */ -}}
{{- define "smilax.smiDefinitions" -}}
- trafficsplits.split.smi-spec.io
- traffictargets.access.smi-spec.io
- identitybindings.access.smi-spec.io
- httproutegroups.specs.smi-spec.io
- tcproutes.specs.smi-spec.io
- udproutes.specs.smi-spec.io
{{- end }}

{{- /* All that our pods may connect to. */ -}}
{{- define "smilax.egressPorts" -}}
- port: 53
  protocol: UDP
- port: 53
  protocol: TCP
{{- range .Values.networkPolicy.apiServerPorts }}
- port: {{ . }}
  protocol: TCP
{{- end }}
{{- end }}

{{- /* What happens to pods that are to get a sidecar while no replica answers. */ -}}
{{- define "smilax.failurePolicy" -}}
{{- .Values.injector.failurePolicy | default (ternary "Fail" "Ignore" (ge (int .Values.replicas) 2)) -}}
{{- end }}

{{- /* Not empty where the API server has admission policies (v1 since Kubernetes 1.30). By version, as helm template knows no kinds. */ -}}
{{- define "smilax.hasAdmissionPolicies" -}}
{{- if semverCompare ">=1.30.0-0" .Capabilities.KubeVersion.Version }}true{{ end }}
{{- end }}

{{- /* Condition of a policy: what the operator's account does, whoever holds its token. */ -}}
{{- define "smilax.isOperator" -}}
- name: is-the-operator
  expression: request.userInfo.username == "system:serviceaccount:{{ .Release.Namespace }}:smilax-operator"
{{- end }}

{{- /*
Not empty when Helm installs or upgrades, and so keeps what it renders for `helm uninstall`. `helm template` cannot look anything up; what it
renders is applied by others, to whom the Job that ends the mesh is a Job like any other.
*/ -}}
{{- define "smilax.isReleased" -}}
{{- if lookup "v1" "Namespace" "" "kube-system" }}true{{ end }}
{{- end }}

{{/* Objects that labels and annotations of the mesh are written on. */}}
{{- define "smilax.keyedObjects" -}}
- operations: [CREATE, UPDATE]
  apiGroups: [""]
  apiVersions: [v1]
  resources: [namespaces]
  scope: Cluster
- operations: [CREATE, UPDATE]
  apiGroups: [""]
  apiVersions: [v1]
  resources: [serviceaccounts, services, pods]
  scope: Namespaced
- operations: [CREATE, UPDATE]
  apiGroups: [apps]
  apiVersions: [v1]
  resources: [deployments, statefulsets, daemonsets, replicasets]
  scope: Namespaced
- operations: [CREATE, UPDATE]
  apiGroups: [batch]
  apiVersions: [v1]
  resources: [jobs, cronjobs]
  scope: Namespaced
{{- end }}

{{/* Whether a label or annotation k of an object, or of its pod template, is as this CEL expression says. */}}
{{- define "smilax.hasKey" -}}
{{- $all := list -}}
{{- range $path := list "object" "object.spec.template" "object.spec.jobTemplate.spec.template" -}}
{{- range $field := list "labels" "annotations" -}}
{{- $has := list -}}
{{- $at := "object" -}}
{{- range $part := append (rest (splitList "." $path)) "metadata" -}}
{{- $at = printf "%s.%s" $at $part -}}
{{- $has = append $has (printf "has(%s)" $at) -}}
{{- end -}}
{{- $has = append $has (printf "has(%s.%s)" $at $field) -}}
{{- $all = append $all (printf "(%s && %s.%s.exists(k, %s))" (join " && " $has) $at $field $) -}}
{{- end -}}
{{- end -}}
{{- join " ||\n" $all -}}
{{- end }}
